"""The laws every attack obeys, for this library's tests and for anyone's plug-in.

import pytest
from saddlepoint.testing import laws

@pytest.mark.parametrize("law", laws(MyAttack()), ids=str)
def test_law(law):
    law()
"""

from saddlepoint.testing.laws import Law as Law
from saddlepoint.testing.laws import laws as laws
