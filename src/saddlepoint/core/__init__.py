"""The nouns: model, threat, goal, attack, game, and what a game leaves behind."""
