"""Published defenses that were broken, and what broke them: controls for an evaluation, not protection."""
