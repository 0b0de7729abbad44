"""Errors of pydantic's validators in our words: what was found, what was expected."""

from typing import Any

from pydantic import ValidationError, ValidatorFunctionWrapHandler, WrapValidator
from pydantic_core import PydanticCustomError


def refused(reason: str) -> PydanticCustomError:
    """Returns an error of a validator whose message says what was found and what was expected."""
    return PydanticCustomError("refused", "{reason}", {"reason": reason})


def unexpected(words: str) -> PydanticCustomError:
    """Returns an error of a validator: the value, which the message shows, should have been what the words say."""
    return PydanticCustomError("unexpected", "{words}", {"words": words})


def expected(words: str) -> WrapValidator:
    """Replaces whatever pydantic says of a value by what it should have been."""

    def check(value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
        try:
            return validate(value)
        except ValidationError as error:
            raise unexpected(words) from error

    return WrapValidator(check)
