"""`urls`: where an instance is reached, and its storefronts in the user's own browser."""

from __future__ import annotations

import webbrowser
from collections.abc import Mapping

from slipway import names, status
from slipway.errors import SlipwayError
from slipway.settings import Settings


def urls(settings: Settings, *, every: bool = False) -> Mapping[str, str]:
    """The URLs of an instance, by what answers there.

    Args:
        settings: The instance's.
        every: Those of every service of every environment too.

    Raises:
        SlipwayError: It has none, because it is not there or does not answer.
    """
    seen = status.status(settings)
    if not seen.urls:
        raise SlipwayError(f"{seen.instance} has no URLs. {seen.trouble}")
    return {**seen.urls, **(seen.service_urls if every else {})}


def browse(found: Mapping[str, str]) -> None:
    """Show the storefront of each environment in the browser that BROWSER names, or that is the user's own.

    Args:
        found: Addresses by what answers there; those of storefronts are opened, in their order.

    Raises:
        SlipwayError: There is no browser, or it does not start; the message has the addresses.
    """
    doors = [url for name, url in found.items() if name.startswith(f"{names.FRONT}.")]
    try:
        browser = webbrowser.get()
    except webbrowser.Error:
        raise SlipwayError(
            f"no browser was found. Open the storefronts yourself, or name a browser in BROWSER:\n{_listed(doors)}"
        ) from None
    failed = [url for url in doors if not browser.open(url, new=2)]
    if failed:
        raise SlipwayError(f"the browser did not take every address. Open these yourself:\n{_listed(failed)}")


def _listed(addresses: list[str]) -> str:
    return "\n".join(f"  {address}" for address in addresses)
