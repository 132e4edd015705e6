# SPDX-License-Identifier: Apache-2.0
"""Config space of any content is decoded to an end, and all that a user may ask of it has an answer."""

from __future__ import annotations

from tests.fuzz.budget import Budget
from tests.fuzz.mutate import damaged
from tests.pci.dumps import SPR_DSA
from tests.pci.test_damage import whole
from vfio_ims.pci import ConfigSource, ConfigSpace, decode


def test_any_image_is_decoded() -> None:
    budget = Budget("config space", most=2000)
    for rng in budget.rounds():
        data = bytearray(SPR_DSA)
        for _ in range(rng.randrange(1, 12)):  # where lists are chained
            at = rng.choice((rng.randrange(0x34, 0x100), rng.randrange(0x100, 0x400), rng.randrange(4096)))
            data[at] = rng.choice((0, 0xFF, rng.randrange(256)))
        image = damaged(rng, bytes(data)) if rng.random() < 0.1 else bytes(data)
        image = (image + bytes(4096))[: rng.choice((64, 256, 4096, 4096, 4096))]
        config = ConfigSpace(image, rng.choice(list(ConfigSource)))
        config.bars()
        whole(decode(config))
        budget.figures["images"] += 1
