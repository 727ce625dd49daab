"""S3's error codes: the status each is answered with, the sentence AWS says, and the XML document."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runctl.sandbox.http import Response
from runctl.sandbox.s3.xml import element

if TYPE_CHECKING:
    from collections.abc import Mapping

# code → (HTTP status, message), as AWS's list of error responses has them
CODES: dict[str, tuple[int, str]] = {
    "AccessControlListNotSupported": (400, "The bucket does not allow ACLs"),
    "AccessDenied": (403, "Access Denied"),
    "AuthorizationHeaderMalformed": (400, "The authorization header is malformed"),
    "BadDigest": (400, "The Content-MD5 or checksum value that you specified did not match what the server received."),
    "BucketAlreadyOwnedByYou": (409, "Your previous request to create the named bucket succeeded and you already own it."),
    "BucketNotEmpty": (409, "The bucket you tried to delete is not empty"),
    "EntityTooLarge": (400, "Your proposed upload exceeds the maximum allowed size"),
    "EntityTooSmall": (400, "Your proposed upload is smaller than the minimum allowed size"),
    "IllegalLocationConstraintException": (400, "The specified location-constraint is not valid"),
    "IncompleteBody": (400, "You did not provide the number of bytes specified by the Content-Length HTTP header"),
    "InternalError": (500, "We encountered an internal error. Please try again."),
    "InvalidArgument": (400, "Invalid Argument"),
    "InvalidBucketName": (400, "The specified bucket is not valid."),
    "InvalidBucketState": (409, "The request is not valid with the current state of the bucket."),
    "InvalidDigest": (400, "The Content-MD5 you specified was invalid."),
    "InvalidLocationConstraint": (400, "The specified location-constraint is not valid"),
    "InvalidPart": (400, "One or more of the specified parts could not be found.  The part may not have been uploaded, or the specified entity tag may not match the part's entity tag."),
    "InvalidPartNumber": (416, "The requested partnumber is not satisfiable"),
    "InvalidPartOrder": (400, "The list of parts was not in ascending order. Parts must be ordered by part number."),
    "InvalidRange": (416, "The requested range is not satisfiable"),
    "InvalidRequest": (400, "Invalid Request"),
    "InvalidTag": (400, "The tag provided was not a valid tag."),
    "KeyTooLongError": (400, "Your key is too long"),
    "MalformedPolicy": (400, "Policies must be valid JSON and the first byte must be '{'"),
    "MalformedXML": (400, "The XML you provided was not well-formed or did not validate against our published schema"),
    "MetadataTooLarge": (400, "Your metadata headers exceed the maximum allowed metadata size"),
    "MethodNotAllowed": (405, "The specified method is not allowed against this resource."),
    "MissingContentLength": (411, "You must provide the Content-Length HTTP header."),
    "NoSuchBucket": (404, "The specified bucket does not exist"),
    "NoSuchBucketPolicy": (404, "The bucket policy does not exist"),
    "NoSuchCORSConfiguration": (404, "The CORS configuration does not exist"),
    "NoSuchKey": (404, "The specified key does not exist."),
    "NoSuchLifecycleConfiguration": (404, "The lifecycle configuration does not exist"),
    "NoSuchPublicAccessBlockConfiguration": (404, "The public access block configuration was not found"),
    "NoSuchTagSet": (404, "The TagSet does not exist"),
    "NoSuchUpload": (404, "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed."),
    "NoSuchVersion": (404, "The specified version does not exist."),
    "NotImplemented": (501, "A header or query you provided implies functionality that is not implemented."),
    "OwnershipControlsNotFoundError": (404, "The bucket ownership controls were not found"),
    "PermanentRedirect": (301, "The bucket you are attempting to access must be addressed using the specified endpoint. Please send all future requests to this endpoint."),
    "PreconditionFailed": (412, "At least one of the pre-conditions you specified did not hold"),
    "RequestTimeout": (400, "Your socket connection to the server was not read from or written to within the timeout period."),
    "ServerSideEncryptionConfigurationNotFoundError": (404, "The server side encryption configuration was not found"),
    "SignatureDoesNotMatch": (403, "The request signature we calculated does not match the signature you provided. Check your key and signing method."),
    "XAmzContentSHA256Mismatch": (400, "The provided 'x-amz-content-sha256' header does not match what was computed."),
}  # fmt: skip


class S3Error(Exception):
    """A refusal S3 answers with: `code` from CODES, `facts` and `more` as further elements of the document."""

    def __init__(
        self,
        code: str,
        message: str = "",
        *,
        status: int | None = None,
        headers: Mapping[str, str] | None = None,
        facts: Mapping[str, str] | None = None,
        **more: str,
    ) -> None:
        known_status, known_message = CODES.get(code, (400, code))
        super().__init__(message or known_message)
        self.code = code
        self.message = message or known_message
        self.status = status if status is not None else known_status
        self.headers = dict(headers or {})
        self.facts = {**(facts or {}), **more}


def error_response(error: S3Error, *, resource: str, request_id: str) -> Response:
    """The answer a client sees; a 304 has no document. For HEAD the server leaves the body out."""
    headers = {"x-amz-request-id": request_id, **error.headers}
    if error.status == 304:
        return Response(304, headers)
    text = element(
        "Error",
        {
            "Code": error.code,
            "Message": error.message,
            **error.facts,
            "Resource": resource,
            "RequestId": request_id,
            "HostId": "runctl-sandbox",
        },
    )
    return Response(error.status, {**headers, "Content-Type": "application/xml"}, document_bytes(text))


def document_bytes(text: str) -> bytes:
    """An XML document as sent: with its declaration, UTF-8."""
    return b'<?xml version="1.0" encoding="UTF-8"?>\n' + text.encode("utf-8", "surrogateescape")
