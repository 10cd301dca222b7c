"""The value of a setting as it is written on the command line: plain YAML, and no more of it."""

from typing import Any

__all__ = ["ValueTextError", "parse_value"]

_LONGEST = 10_000  # characters of a value
_DEEPEST = 10  # brackets within brackets


class ValueTextError(ValueError):
    """A text that is no value; the message says why."""


def parse_value(text: str) -> Any:  # noqa: ANN401 - any plain value
    """A number, a truth value, nothing, a text, or lists and mappings of these.

    YAML has more: dates, tags, which build objects, and aliases, which let a short text stand for
    billions of values. Dates are texts here; tags and aliases are refused.

    Raises:
        ValueTextError: if the text is not YAML of this kind, is too long, or is nested too deeply.

    Example:
        >>> parse_value("{a: [1, 2.5, no], b: 2001-01-01}")
        {'a': [1, 2.5, False], 'b': '2001-01-01'}
    """
    import yaml

    if len(text) > _LONGEST:
        raise ValueTextError(f"it has {len(text):,} characters, at most {_LONGEST:,} are read.")

    class Loader(yaml.SafeLoader):
        depth = 0

        def compose_node(self, parent: Any, index: Any) -> Any:  # noqa: ANN401
            if self.check_event(yaml.AliasEvent):
                raise ValueTextError("it has an alias (*NAME), which is not read.")
            if getattr(self.peek_event(), "tag", None):
                raise ValueTextError("it has a tag (!NAME), which is not read.")
            self.depth += 1
            if self.depth > _DEEPEST:
                raise ValueTextError(f"it has more than {_DEEPEST} brackets within brackets.")
            node = super().compose_node(parent, index)
            self.depth -= 1
            return node

    Loader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in entries if not tag.endswith(":timestamp")]
        for first, entries in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    try:
        return yaml.load(text, Loader)
    except yaml.MarkedYAMLError as error:
        raise ValueTextError(f"it is not YAML ({error.problem or error.context}).") from error
    except yaml.YAMLError as error:  # a character that YAML does not take
        raise ValueTextError("it is not YAML (it has a character that YAML refuses).") from error
    except ValueTextError:
        raise
    except ValueError as error:  # a number of thousands of digits
        raise ValueTextError(f"it is no number ({str(error)[:100]}).") from error
