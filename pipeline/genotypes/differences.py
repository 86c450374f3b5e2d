"""What differs between two genotypes, and what a genotype is in words."""

from pipeline.spaces.base import Genotype
from pipeline.spaces.pictures import Difference
from pipeline.spaces.registry import kind_of


def differences(first: Genotype, second: Genotype) -> list[Difference]:
    """What two genotypes have otherwise in their canonical forms; none for equal graphs."""
    a, b = first.canonical(), second.canonical()
    compare = kind_of(a).words.differences
    if type(a) is type(b) and compare is not None:
        return list(compare(a, b))
    names = ("network",)
    return [] if a == b else [Difference("", "network", in_words(a), in_words(b), names, names)]


def in_words(genotype: Genotype) -> str:
    """A genotype for whoever does not see its picture."""
    return kind_of(genotype).words.sentence(genotype)
