"""What torchvision's downloads fail with, said in one sentence."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError

from visionpe.errors import DataError


@contextmanager
def downloading(name: str, root: Path) -> Iterator[None]:
    """Turns what a refused network or disk raises into an error with a remedy.

    What has arrived in part stays where it is; torchvision fetches it again.

    Args:
        name: of the data set.
        root: where it is kept.

    Raises:
        DataError: if it cannot be fetched or written.
    """
    by_hand = f"Put the files under {root} by other means and leave `download` off."
    try:
        yield
    except URLError as error:
        raise DataError(
            f"{name} cannot be downloaded: the network says '{error.reason}'. {by_hand}"
        ) from None
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            remedy = "Free some space, or give another `root`."
        elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST):
            remedy = "Give a `root` that can be written."
        else:
            remedy = by_hand
        said = error.strerror or str(error)
        raise DataError(f"{name} cannot be downloaded to {root}: {said}. {remedy}") from None
    except RuntimeError as error:  # no mirror gave the file, or not the one expected
        said = " ".join(str(error).split()).rstrip(".")
        raise DataError(f"{name} cannot be downloaded: {said}. {by_hand}") from None
