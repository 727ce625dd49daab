"""Parameter Store through boto3: versions, paths, secrets, refusals, and the public names of images."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError
from tests.ssmbox import SsmBox

from runctl.sandbox.moto_services import Moto


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SsmBox]:
    box = SsmBox(tmp_path_factory.mktemp("parameters"))
    try:
        yield box
    finally:
        box.close()


def refused(work: Any, **asked: Any) -> str:
    with pytest.raises(ClientError) as error:
        work(**asked)
    return str(error.value.response["Error"]["Code"])


def test_values_have_versions(box: SsmBox) -> None:
    ssm = box.client()
    assert ssm.put_parameter(Name="/v/a", Value="one", Type="String")["Version"] == 1
    assert refused(ssm.put_parameter, Name="/v/a", Value="two", Type="String") == "ParameterAlreadyExists"
    assert ssm.put_parameter(Name="/v/a", Value="two", Overwrite=True)["Version"] == 2
    found = ssm.get_parameter(Name="/v/a")["Parameter"]
    assert (found["Value"], found["Version"], found["Type"]) == ("two", 2, "String")
    assert found["ARN"] == f"arn:aws:ssm:us-east-1:{box.state.account}:parameter/v/a"
    assert ssm.get_parameter(Name="/v/a:1")["Parameter"]["Value"] == "one"
    assert refused(ssm.get_parameter, Name="/v/a:9") == "ParameterVersionNotFound"
    assert refused(ssm.get_parameter, Name="/v/b") == "ParameterNotFound"
    assert refused(box.client(region="eu-west-1").get_parameter, Name="/v/a") == "ParameterNotFound"


def test_several_at_once_and_gone_again(box: SsmBox) -> None:
    ssm = box.client()
    for name in ("s1", "s2"):
        ssm.put_parameter(Name=name, Value=name, Type="StringList")
    answer = ssm.get_parameters(Names=["s1", "nope", "s2"])
    assert sorted(each["Value"] for each in answer["Parameters"]) == ["s1", "s2"]
    assert answer["InvalidParameters"] == ["nope"]
    assert ssm.delete_parameters(Names=["s1", "nope"])["DeletedParameters"] == ["s1"]
    ssm.delete_parameter(Name="s2")
    assert refused(ssm.delete_parameter, Name="s2") == "ParameterNotFound"


def test_paths(box: SsmBox) -> None:
    ssm = box.client()
    for name in ("/p/a", "/p/b", "/p/deep/c", "/pq/d"):
        ssm.put_parameter(Name=name, Value=name, Type="String")
    flat = ssm.get_parameters_by_path(Path="/p")["Parameters"]
    assert [each["Name"] for each in flat] == ["/p/a", "/p/b"]
    pages = ssm.get_paginator("get_parameters_by_path").paginate(Path="/p/", Recursive=True, MaxResults=2)
    assert [each["Name"] for page in pages for each in page["Parameters"]] == ["/p/a", "/p/b", "/p/deep/c"]
    described = ssm.describe_parameters(
        ParameterFilters=[{"Key": "Path", "Option": "Recursive", "Values": ["/p"]}]
    )
    assert len(described["Parameters"]) == 3
    assert "Value" not in described["Parameters"][0]


def test_a_secret_is_told_to_who_asks_for_it_only(box: SsmBox) -> None:
    ssm = box.client()
    ssm.put_parameter(Name="/secret", Value="hunter2", Type="SecureString")
    hidden = ssm.get_parameter(Name="/secret")["Parameter"]["Value"]
    assert "hunter2" not in hidden
    assert ssm.get_parameter(Name="/secret", WithDecryption=True)["Parameter"]["Value"] == "hunter2"


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"Name": "aws-thing"}, "ValidationException"),
        ({"Name": "/aws/service/x"}, "AccessDeniedException"),
        ({"Name": "a b"}, "ValidationException"),
        ({"Name": "a/b"}, "ValidationException"),
        ({"Name": "/1" * 16}, "HierarchyLevelLimitExceededException"),
        ({"Name": "big", "Value": "x" * 4097}, "ValidationException"),
        ({"Name": "pattern", "AllowedPattern": "[0-9]+"}, "ParameterPatternMismatchException"),
    ],
)
def test_parameters_that_are_refused(box: SsmBox, asked: dict[str, Any], code: str) -> None:
    assert refused(box.client().put_parameter, **{"Value": "x", "Type": "String", **asked}) == code


def test_public_names_resolve_to_images_that_ec2_knows(box: SsmBox) -> None:
    moto = Moto(box.state)
    box.cloud.services["ec2"] = moto
    try:
        ssm, ec2 = box.client(), box.client("ec2")
        name = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64"
        image = ssm.get_parameter(Name=name)["Parameter"]
        assert image["DataType"] == "aws:ec2:image"
        found = ec2.describe_images(ImageIds=[image["Value"]])["Images"]
        assert found[0]["Architecture"] == "x86_64"
        listed = ssm.get_parameters_by_path(Path="/aws/service/ami-amazon-linux-latest", MaxResults=10)[
            "Parameters"
        ]
        assert name in [each["Name"] for each in listed]
        for other in (
            "/aws/service/canonical/ubuntu/server/22.04/stable/current/amd64/hvm/ebs-gp2/ami-id",
            "/aws/service/deeplearning/ami/x86_64/base-oss-nvidia-driver-gpu-ubuntu-22.04/latest/ami-id",
        ):
            assert ssm.get_parameter(Name=other)["Parameter"]["Value"].startswith("ami-")
    finally:
        del box.cloud.services["ec2"]
        moto.close()


def test_documents_can_be_looked_at(box: SsmBox) -> None:
    ssm = box.client()
    about = ssm.describe_document(Name="AWS-RunShellScript")["Document"]
    assert [each["Name"] for each in about["Parameters"]] == [
        "commands",
        "workingDirectory",
        "executionTimeout",
    ]
    assert '"aws:runShellScript"' in ssm.get_document(Name="AWS-RunShellScript")["Content"]
    assert "AWS-StartSSHSession" in [each["Name"] for each in ssm.list_documents()["DocumentIdentifiers"]]
    assert refused(ssm.get_document, Name="Mine") == "InvalidDocument"
    assert refused(ssm.create_activation, IamRole="x") == "UnknownOperationException"
