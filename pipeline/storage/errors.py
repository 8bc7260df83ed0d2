"""What storage can say went wrong: one family of errors that names the URI, the step, the cause and the cure.

Texts of the libraries below are left out on purpose: they may quote endpoints, headers or keys. What is kept
is the class of the cause and, from a server, its error code and HTTP status.
"""

from __future__ import annotations

import errno
import re

import botocore.exceptions as boto_errors
import urllib3.exceptions
from boto3.exceptions import S3UploadFailedError
from pyarrow.lib import ArrowException

from pipeline.storage.redact import redact


class StorageError(Exception):
    """A storage operation failed for good.

    Args:
        uri: what was asked for; secrets inside it are blanked.
        action: what was tried, as a verb phrase ("read", "list the folder").
        cause: class of the underlying error, with the server's code and status where there is one.
        advice: what to do about it.
    """

    def __init__(self, uri: str, action: str, cause: str, advice: str) -> None:
        self.uri, self.action, self.cause, self.advice = redact(uri), action, cause, advice
        super().__init__(f"cannot {action} {self.uri}: {cause}; {advice}")

    def __reduce__(self) -> tuple[type[StorageError], tuple[str, str, str, str]]:
        return type(self), (self.uri, self.action, self.cause, self.advice)


class NotFound(StorageError):
    """The object, folder or bucket does not exist."""


class AccessDenied(StorageError):
    """Missing, wrong or expired credentials, or no permission."""


class Unavailable(StorageError):
    """The store could not be reached, throttled or failed; trying again later may help."""


class TooLarge(StorageError):
    """The object is larger than the caller's limit."""


class NoSpace(StorageError):
    """A local disk or quota is full."""


class HostNotNamed(StorageError):
    """A web server that `--http-hosts` does not name."""


class Conflict(StorageError):
    """The condition of a conditional write did not hold."""


class Unconditional(StorageError):
    """The store does not have this kind of request (HTTP 501): conditional writes, most likely."""


_DENIED_CODES = {
    "AccessDenied",
    "AllAccessDisabled",
    "ExpiredToken",
    "Forbidden",
    "InvalidAccessKeyId",
    "InvalidToken",
    "SignatureDoesNotMatch",
}
_BUSY_CODES = {
    "ConditionalRequestConflict",
    "InternalError",
    "OperationAborted",
    "RequestTimeout",
    "RequestTimeTooSkewed",
    "ServiceUnavailable",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "TooManyRequests",
}
_NO_CREDENTIALS = (
    boto_errors.NoCredentialsError,
    boto_errors.PartialCredentialsError,
    boto_errors.CredentialRetrievalError,
    boto_errors.TokenRetrievalError,
    boto_errors.UnauthorizedSSOTokenError,
    boto_errors.NoAuthTokenError,
)
_NETWORK = (
    boto_errors.ConnectionError,
    boto_errors.HTTPClientError,
    boto_errors.IncompleteReadError,
    boto_errors.ReadTimeoutError,
    boto_errors.ResponseStreamingError,
    urllib3.exceptions.HTTPError,
    ConnectionError,
    TimeoutError,
)
TRANSLATED = (
    boto_errors.BotoCoreError,
    boto_errors.ClientError,
    S3UploadFailedError,
    urllib3.exceptions.HTTPError,
    ArrowException,
    OSError,
    StorageError,
)
"""What `translate` is for; anything else is a fault of the program and is left as it is."""

_FULL = {errno.ENOSPC, errno.EDQUOT}
_ABSENT = {errno.ENOENT, errno.ENOTDIR}
_REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS}
_FLAKY = {errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EAGAIN, errno.EBUSY}

ADVICE_CREDENTIALS = (
    "check the AWS settings of this node (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE or an"
    " instance role) and what they permit"
)
ADVICE_REACH = "check AWS_ENDPOINT_URL, AWS_REGION and the network, then run again"
ADVICE_SPACE = "free space there or point the job at a larger disk"


def translate(uri: str, action: str, error: BaseException) -> StorageError:
    """The package's own error for one raised by boto3, pyarrow, urllib3 or the operating system.

    Returns the error to raise (`raise translate(...) from None`). A `StorageError` is passed through.
    """
    if isinstance(error, StorageError):
        return error
    if isinstance(error, S3UploadFailedError) and error.__context__ is not None:
        return translate(uri, action, error.__context__)
    if isinstance(error, boto_errors.ClientError):
        return _from_response(uri, action, error)
    cause = type(error).__name__
    if isinstance(error, _NO_CREDENTIALS):
        return AccessDenied(uri, action, cause, ADVICE_CREDENTIALS)
    if isinstance(error, _NETWORK):
        return Unavailable(uri, action, cause, ADVICE_REACH)
    if isinstance(error, boto_errors.ProfileNotFound):
        return AccessDenied(uri, action, cause, "AWS_PROFILE names a profile that this node does not have")
    if isinstance(error, boto_errors.ParamValidationError):
        return StorageError(uri, action, cause, "check the bucket's name")
    if isinstance(error, OSError) and error.errno is not None:
        return _from_errno(uri, action, error)
    if isinstance(error, OSError | ArrowException):
        return _from_arrow(uri, action, error)
    return StorageError(uri, action, cause, "see the cause; no known remedy")


def _from_response(uri: str, action: str, error: boto_errors.ClientError) -> StorageError:
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    cause = f"{code} (HTTP {status})"
    if code == "PreconditionFailed" or status == 412:
        return Conflict(uri, action, cause, "somebody else wrote it; read it again")
    if code == "NotImplemented" or status == 501:
        return Unconditional(uri, action, cause, "the store lacks this request; use another store")
    if code == "NoSuchBucket":
        return NotFound(uri, action, cause, "there is no such bucket; create it or correct the URI")
    if code in {"NoSuchKey", "NotFound", "404"} or (status == 404 and code != "NoSuchUpload"):
        return NotFound(uri, action, cause, "there is no such object; correct the URI")
    if code in _DENIED_CODES or status in {401, 403}:
        return AccessDenied(uri, action, cause, ADVICE_CREDENTIALS)
    if code in _BUSY_CODES or code == "NoSuchUpload" or status in {408, 429} or status >= 500:
        return Unavailable(uri, action, cause, ADVICE_REACH)
    return StorageError(uri, action, cause, "the store refused the request; check the URI and AWS_REGION")


def _from_errno(uri: str, action: str, error: OSError) -> StorageError:
    number = error.errno or 0
    cause = f"{type(error).__name__} ({errno.errorcode.get(number, number)})"
    if number in _FULL:
        return NoSpace(uri, action, cause, ADVICE_SPACE)
    if number in _ABSENT:
        return NotFound(uri, action, cause, "there is no such file; correct the path")
    if number in _REFUSED:
        return AccessDenied(uri, action, cause, "check the owner and permissions of the path")
    if number in _FLAKY:
        return Unavailable(uri, action, cause, "the file system failed; check its mount, then run again")
    return StorageError(uri, action, cause, "check the path")


def _from_arrow(uri: str, action: str, error: BaseException) -> StorageError:
    text = str(error)
    match = re.search(r"AWS Error ([A-Z_]+)|HTTP status (\d+)", text)
    cause = f"{type(error).__name__} ({match.group(0)})" if match else type(error).__name__
    if re.search(r"NO_SUCH_(KEY|BUCKET)|RESOURCE_NOT_FOUND|HTTP status 404|(?<!magic bytes )[Nn]ot found", text):
        return NotFound(uri, action, cause, "there is no such object; correct the URI")
    if re.search(r"ACCESS_DENIED|INVALID_ACCESS_KEY_ID|SIGNATURE_DOES_NOT_MATCH|HTTP status 40[13]", text):
        return AccessDenied(uri, action, cause, ADVICE_CREDENTIALS)
    if re.search(r"NETWORK_CONNECTION|SLOW_DOWN|THROTTLING|TIMEOUT|INTERNAL|UNAVAILABLE|HTTP status 5", text):
        return Unavailable(uri, action, cause, ADVICE_REACH)
    return StorageError(uri, action, cause, "the file may be damaged or of another format")
