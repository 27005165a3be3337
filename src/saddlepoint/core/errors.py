"""Everything saddlepoint raises on purpose: one sentence of what came, one of what to do."""


class SaddlepointError(Exception):
    """Base of all errors of this library; the message is one line, of at most 400 characters."""

    def __init__(self, message: str = "") -> None:
        line = " ".join(str(message).split())
        super().__init__(line if len(line) <= 400 else f"{line[:220]} ... {line[-170:]}")


class InputError(SaddlepointError, ValueError):
    """An argument, a tensor or a file is not what was expected."""


class ConfigError(InputError):
    """A record (attack, threat, specification) has an unknown or invalid field."""


class UnknownName(SaddlepointError, LookupError):
    """A name is not registered."""


class AccessError(SaddlepointError):
    """An attack asked for more than it declared, or for more than the model gives."""


class ModelError(SaddlepointError):
    """The model raised, or returned something that is not logits of the batch."""


class RunError(SaddlepointError):
    """A run on disk cannot be continued or read."""


def out_of_memory(error: BaseException) -> bool:
    """Whether an exception is an allocation that failed, on any device."""
    text = str(error).lower()
    named = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return named or "out of memory" in text or "can't allocate" in text
