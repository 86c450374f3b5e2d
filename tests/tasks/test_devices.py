import pytest

from pipeline.errors import UserError
from tasks import devices


def names(text):
    return [spec.name for spec in devices.slot_specs(text)]


def test_a_list_of_devices_becomes_slots():
    assert names("cpu*2") == ["cpu-0", "cpu-1"]
    assert names("cuda:0, cuda:1,cuda:2+cuda:3,cpu") == ["cuda-0", "cuda-1", "cuda-2+3", "cpu-0"]
    assert devices.slot_specs("cuda:2+cuda:3")[0].devices == 2


@pytest.mark.parametrize(
    "text", ["", "gpu", "cpu*0", "cuda", "cuda:0,cuda:0+cuda:1", "cpu*x", ","]
)
def test_what_names_no_device_is_refused(text):
    with pytest.raises(UserError, match="NASNET_DEVICES"):
        devices.slot_specs(text)


def test_by_default_cores_are_shared_out_by_threads(monkeypatch):
    monkeypatch.setattr(devices, "cuda_count", lambda: 0)
    monkeypatch.setattr(devices, "usable_cores", lambda: 8)
    monkeypatch.setattr(devices, "usable_memory", lambda: 100 * devices.LEAST_MEMORY)
    assert len(devices.slot_specs(None, threads=1)) == 8
    assert len(devices.slot_specs(None, threads=3)) == 2
    assert len(devices.slot_specs(None, threads=9)) == 1


def test_by_default_memory_bounds_the_slots(monkeypatch):
    monkeypatch.setattr(devices, "cuda_count", lambda: 0)
    monkeypatch.setattr(devices, "usable_cores", lambda: 64)
    monkeypatch.setattr(devices, "usable_memory", lambda: 3 * devices.LEAST_MEMORY)
    assert len(devices.slot_specs(None)) == 3
