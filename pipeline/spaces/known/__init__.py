"""Networks that torchvision has, made for any images: baselines beside found genotypes."""

from pipeline.spaces.base import GenotypeKind
from pipeline.spaces.known import words
from pipeline.spaces.known.genotype import KnownNetwork
from pipeline.spaces.pictures import Words

KNOWN = GenotypeKind(
    genotype=KnownNetwork,
    build="pipeline.spaces.known.network:build",
    words=Words(sentence=words.sentence, lines=words.lines, draw=words.draw),
)
