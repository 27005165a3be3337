"""This library measured beside all others: the same networks, examples and budgets, and one judge."""

from saddlepoint.bench.case import Bar as Bar
from saddlepoint.bench.case import Call as Call
from saddlepoint.bench.case import Case as Case
from saddlepoint.bench.cases import CASES as CASES
from saddlepoint.bench.judge import judge as judge
from saddlepoint.bench.nets import Match as Match
from saddlepoint.bench.rounds import measure as measure
from saddlepoint.bench.rounds import summary as summary
from saddlepoint.bench.suite import bench as bench
