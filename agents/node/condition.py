"""The questions about a GPU that are asked seldom: their answers change seldom or cost more."""

from collections.abc import Sequence
from functools import cache
from typing import Any, Protocol

from agents.node.fields import LINK_ERRORS, SELDOM, total
from agents.node.samples import Condition

_VOLATILE, _AGGREGATE = 0, 1
_CORRECTED, _UNCORRECTED = 0, 1


class Ask(Protocol):
    """Asks the driver about one GPU; None where it does not support the question."""

    def __call__(self, function: str, *numbers: int) -> Any:  # noqa: ANN401  # as the library gives it
        """Call a function of NVML by its name."""
        ...


class AskFields(Protocol):
    """Asks for a batch of (field, scope) of one GPU; None for each that it does not support."""

    def __call__(self, wanted: Sequence[tuple[int, int]]) -> Sequence[int | None]:
        """Return one value for each."""
        ...


def condition(ask: Ask, ask_fields: AskFields) -> Condition:
    """Return how the GPU is, apart from its fabric."""
    encoder, decoder = (
        ask("nvmlDeviceGetEncoderUtilization"),
        ask("nvmlDeviceGetDecoderUtilization"),
    )
    ecc, mig = ask("nvmlDeviceGetEccMode"), ask("nvmlDeviceGetMigMode")
    energy, replayed, count = ask_fields(SELDOM)
    links = range(count or 0)
    replays, recoveries, crc = _link_errors(ask_fields, links)
    return Condition(
        energy_millijoules=energy,
        pcie_replays=replayed,
        encoder_percent=encoder[0] if encoder else None,
        decoder_percent=decoder[0] if decoder else None,
        power_limit_milliwatts=ask("nvmlDeviceGetEnforcedPowerLimit"),
        ecc_enabled=bool(ecc[0]) if ecc else None,
        ecc_corrected=ask("nvmlDeviceGetTotalEccErrors", _CORRECTED, _VOLATILE),
        ecc_uncorrected=ask("nvmlDeviceGetTotalEccErrors", _UNCORRECTED, _VOLATILE),
        ecc_corrected_ever=ask("nvmlDeviceGetTotalEccErrors", _CORRECTED, _AGGREGATE),
        ecc_uncorrected_ever=ask("nvmlDeviceGetTotalEccErrors", _UNCORRECTED, _AGGREGATE),
        sram_threshold_exceeded=ask("sram_exceeded"),
        nvlinks=count,
        nvlinks_up=ask("links_up", count) if count else None,
        nvlink_replays=replays,
        nvlink_recoveries=recoveries,
        nvlink_crc_errors=crc,
        pcie_generation=ask("nvmlDeviceGetCurrPcieLinkGeneration"),
        pcie_generation_most=ask("nvmlDeviceGetMaxPcieLinkGeneration"),
        pcie_width=ask("nvmlDeviceGetCurrPcieLinkWidth"),
        pcie_width_most=ask("nvmlDeviceGetMaxPcieLinkWidth"),
        mig_enabled=bool(mig[0]) if mig else None,
        fabric=ask("fabric"),
    )


@cache
def _every_error(links: int) -> tuple[tuple[int, int], ...]:
    return tuple((kind, link) for kind in LINK_ERRORS for link in range(links))


def _link_errors(ask_fields: AskFields, links: range) -> list[int | None]:
    """Return each kind of error summed over the links that are there."""
    if not links:  # A real driver refuses to be asked for nothing.
        return [None] * len(LINK_ERRORS)
    values = ask_fields(_every_error(len(links)))
    return [total(values[k * len(links) : (k + 1) * len(links)]) for k in range(len(LINK_ERRORS))]
