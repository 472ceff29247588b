"""Find the data that a command is given: paths of this machine, or URLs whose files are copied to its cache."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from quorate.data.remote import local_data, with_urls
from quorate.errors import UserError
from quorate.spec import check_url, is_url


@dataclass(frozen=True)
class GivenData:
    """Data on this machine, in the order in which they were given, and the URLs of those that were copied."""

    paths: tuple[Path, ...] = ()
    urls: Mapping[Path, str] = field(default_factory=dict)

    def joined(self, more: GivenData) -> GivenData:
        """Return these data followed by `more`."""
        return GivenData(self.paths + more.paths, {**self.urls, **more.urls})

    def url_of(self, path: Path) -> str | None:
        """Return the URL of a file or folder of the data; None if it was not copied."""
        for copy, url in self.urls.items():
            if path == copy:
                return url
            if path.is_relative_to(copy):
                return f"{url.rstrip('/')}/{path.relative_to(copy).as_posix()}"
        return None

    def shown(self, text: str) -> str:
        """Return a text that names the data by their URLs, without queries, instead of by the paths of the copies."""
        return with_urls(text)

    @contextmanager
    def shown_in_errors(self) -> Iterator[None]:
        """Let errors of the user name the data by their URLs."""
        try:
            yield
        except UserError as error:
            error.args = tuple(self.shown(part) if isinstance(part, str) else part for part in error.args)
            raise


def find_given(*given: str, key: str) -> GivenData:
    """Find data, and copy those with a URL to the cache of this machine unless it has their newest version.

    Raises `UserError` for a URL that cannot be used, with the name `key` of the argument, or that cannot be read.
    """
    paths, urls = [], {}
    for one in given:
        if not is_url(one):
            paths.append(Path(one))
            continue
        try:
            check_url(one)
        except ValueError as error:
            raise UserError(f"{key}: {error}") from None
        paths.append(local_data(one, key))
        urls[paths[-1]] = one
    return GivenData(tuple(paths), urls)
