"""A billing period in slices: ranges of tenant and principal that hold about as many principals each.

The ledger sums and sorts one slice at a time, in memory of the size of a slice, and its tables stay within reach of
the processor's caches: that is quicker than to do all at once, too. Where the cuts are leaves no trace in what the
slices give one after the other.
"""

from dataclasses import asdict, dataclass
from itertools import pairwise

from queries.named import Client, named_queries, run

ONE_IN = 1024
"""One principal of so many is drawn, by a hash: a thousandth of a long list, and none for a short one."""
DRAWN = 64
"""So many of the drawn lie in a slice; with the above 65 536 principals, give or take an eighth."""


@dataclass(frozen=True, slots=True)
class Slice:
    """From a principal of a tenant on, up to but not with another; an empty `to_tenant` is the end of all."""

    from_tenant: str
    from_principal: str
    to_tenant: str
    to_principal: str

    def given(self) -> dict[str, str]:
        """The slice as parameters of a query."""
        return asdict(self)


def slices(client: Client, period: str, tenant: str) -> list[Slice]:
    """Cut a billing period, of one tenant where one is given; in order, without a gap, at least one."""
    asked = {"period": period, "tenant": tenant, "one_in": ONE_IN}
    drawn = run(client, named_queries()["principals_drawn"], asked).rows
    cuts = [("", ""), *((str(who), str(principal)) for who, principal in drawn[DRAWN::DRAWN]), ("", "")]
    return [Slice(*start, *end) for start, end in pairwise(cuts)]
