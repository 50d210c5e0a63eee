"""What all sections of a build file share."""

from typing import Annotated, Any, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.fields import FieldInfo

ACTED_ON = "x-acted-on"  # in the JSON schema: false for keys that are accepted and ignored


class Section(BaseModel):
    """A mapping of the build file: frozen, and without unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def ignored(description: str) -> Any:  # Any: as pydantic.Field, fits every annotation
    """A key of public build files that is understood but changes nothing here."""
    return Field(default=None, description=description, json_schema_extra={ACTED_ON: False})


def is_ignored(field: FieldInfo) -> bool:
    """Whether a field was declared with `ignored`."""
    extra = field.json_schema_extra
    return isinstance(extra, dict) and extra.get(ACTED_ON) is False


def section_in(annotation: Any) -> type[Section] | None:  # Any: annotations are not types
    """The section that a field holds, if it holds one."""
    candidates = (annotation, *get_args(annotation))
    return next((c for c in candidates if isinstance(c, type) and issubclass(c, Section)), None)


def _not_bool(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError(f"{str(value).lower()} given; expected a number")
    return value


Whole = Annotated[int, BeforeValidator(_not_bool)]
Number = Annotated[float, BeforeValidator(_not_bool)]
