"""Addresses: what is secret of them is shown nowhere; what is no address stays a path."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fapm_cli.stores.address import PACKAGES, Address, is_address, redacted
from fapm_cli.stores.locating import located
from fapm_cli.stores.stored import StoredPath

SECRET = "s3cr3tQ"
SCHEMES = sorted(PACKAGES)
word = st.text("abcXYZ019._-", min_size=1, max_size=8)


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        (f"https://u:{SECRET}@h.org/a/b.jpg", "https://***@h.org/a/b.jpg"),
        (f"https://{SECRET}@h.org/b.jpg", "https://***@h.org/b.jpg"),
        (f"https://h.org/a.jpg?X-Amz-Signature={SECRET}&b=1", "https://h.org/a.jpg?***"),
        (f"HTTPS://h.org/a.jpg#{SECRET}", "HTTPS://h.org/a.jpg#***"),
        (f"https:/u:{SECRET}@h.org/b.jpg", "https:/***@h.org/b.jpg"),
        (f"sftp://line:{SECRET}@10.0.0.1:22/x", "sftp://***@10.0.0.1:22/x"),
        ("sftp://line@10.0.0.1/x", "sftp://line@10.0.0.1/x"),
        ("abfs://box@account.dfs.core.windows.net/x", "abfs://box@account.dfs.core.windows.net/x"),
        (f"s3://key:{SECRET}@bucket/x", "s3://***@bucket/x"),
        ("good/a@b.jpg and C:/a@b?c", "good/a@b.jpg and C:/a@b?c"),
    ],
)
def test_a_text_shows_no_secrets_of_addresses(address: str, shown: str) -> None:
    assert redacted(f"can't read {address}") == f"can't read {shown}"
    assert SECRET not in redacted(f"{address}, ('{address}') and {address}: failed")


@given(st.sampled_from(SCHEMES), word, word, word)
def test_no_way_to_show_an_address_has_its_secrets(
    scheme: str, host: str, folder: str, name: str
) -> None:
    signed = f"?sig={SECRET}" if scheme in ("http", "https") else ""
    text = f"{scheme}://user:{SECRET}@{host}/{folder}/{name}.jpg{signed}"
    path = located(text)
    assert isinstance(path, StoredPath)
    shown = (str(path), repr(path), path.name, str(path.parent), Address.parse(text).scrub(text))
    assert not any(SECRET in one for one in (*shown, redacted(text)))
    assert path.store.has_secrets
    assert (path.name, path.suffix, path.parent.name) == (f"{name}.jpg", ".jpg", folder)


def test_a_message_of_others_is_scrubbed() -> None:
    address = Address.parse(f"https://u%40:{SECRET}%21@h/a?sig={SECRET}%2B")
    said = f"no route to u@:{SECRET}! with {SECRET}+ ({address.full})"
    assert SECRET not in address.scrub(said)


@given(st.text(max_size=30))
def test_what_is_no_address_is_the_same_path_as_ever(text: str) -> None:
    if not is_address(text) and ".tar" not in text:
        assert located(text) == Path(text)


def test_a_folder_whose_name_ends_in_tar_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "x.tar").mkdir()
    assert located(tmp_path / "x.tar" / "a.jpg") == tmp_path / "x.tar" / "a.jpg"
