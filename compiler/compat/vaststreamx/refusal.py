"""The error for a call that a script should not have made."""

from compiler.errors import BundleError


def refusal(call: str, what: str, fix: str) -> BundleError:
    """The error for a call.

    Args:
        call: Its name in `vaststreamx`.
        what: What is wrong.
        fix: What to do about it.
    """
    return BundleError(what, where=f"vaststreamx.{call}", fix=fix)
