"""Downloads: the one place from which the network is reached, and only because a user asked for it."""

from __future__ import annotations

import hashlib
import http.client
import urllib.request
from pathlib import Path

from uadbench.engine.perceptual.weights import PerceptualError, lpips_squeeze_places
from uadbench.reports.atomic import write_bytes

__all__ = ["fetch_lpips_squeeze"]

LPIPS_URL = "https://download.pytorch.org/models/squeezenet1_1-b8a52dc0.pth"
LPIPS_FILE_SHA256 = "b8a52dc049b60e4b6ab68ad0df457362afab8b6304b2febdc1650a5dab4d7e7b"


def fetch_lpips_squeeze(force: bool = False, url: str = LPIPS_URL, sha256: str = LPIPS_FILE_SHA256) -> Path:
    """Download torchvision's ImageNet SqueezeNet 1.1 into our user data folder and return its path.

    A file that is there and intact is kept unless ``force``. The download is written beside its place and moved
    there only when its sha256 is right.

    Raises PerceptualError, one line, when the download fails, its checksum is wrong or it cannot be written.
    """
    target = lpips_squeeze_places()[0]
    if not force and target.is_file() and hashlib.sha256(target.read_bytes()).hexdigest() == sha256:
        return target
    data = download(url, target)
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise PerceptualError(
            f"{url}: sha256 of the download is {found}, expected {sha256}; nothing was kept, try again"
        )
    try:
        write_bytes(target, data)
    except OSError as error:
        raise PerceptualError(
            f"cannot write {target} ({error.strerror}); make the folder writable"
        ) from error
    return target


def download(url: str, target: Path) -> bytes:
    """All bytes at an address, 5 MB here; or PerceptualError that says where else to get them."""
    try:
        with urllib.request.urlopen(url, timeout=60) as response:
            data: bytes = response.read()
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise PerceptualError(
            f"could not download {url} ({reason}); on a machine with network, save it as {target}"
        ) from error
    return data
