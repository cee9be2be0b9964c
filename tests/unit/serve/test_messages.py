"""The descriptor in the package is that of inference.proto, and agrees with other stubs."""

from __future__ import annotations

from pathlib import Path

from google.protobuf import descriptor_pb2
from grpc_tools import protoc

import colonnade.serve.grpc
from colonnade.serve.grpc.messages import messages, methods

FOLDER = Path(colonnade.serve.grpc.__file__).parent


def test_the_descriptor_is_up_to_date(tmp_path: Path) -> None:
    made = tmp_path / "inference.binpb"
    arguments = ["protoc", f"-I{FOLDER}", f"--descriptor_set_out={made}", "inference.proto"]
    assert protoc.main(arguments) == 0
    fresh, kept = (
        descriptor_pb2.FileDescriptorSet.FromString(path.read_bytes())
        for path in (made, FOLDER / "inference.binpb")
    )
    assert fresh == kept, "run ./dev docs"


def test_fields_have_the_numbers_and_types_of_a_clients_stubs() -> None:
    from tritonclient.grpc import service_pb2

    theirs = service_pb2.DESCRIPTOR.message_types_by_name
    for name, ours in messages().items():
        if name in ("ModelConfig", "ModelInput", "ModelOutput") or name not in theirs:
            continue
        for field in ours.DESCRIPTOR.fields:
            other = theirs[name].fields_by_name[field.name]
            assert (field.number, field.type) == (other.number, other.type), f"{name}.{field.name}"
            assert field.is_repeated == other.is_repeated, f"{name}.{field.name}"
    [service] = service_pb2.DESCRIPTOR.services_by_name.values()
    assert {method.name for method in methods()} == {method.name for method in service.methods}
