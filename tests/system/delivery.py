"""What the tests of delivery share."""

from harness import SystemTest

BODY = b"Subject: hello\r\n\r\n.one dot\r\n..two\r\n...\r\n.\r\nlast\r\n"
PIPELINING_ONLY = ("PIPELINING", "8BITMIME")
RULES = "a.test a\nb.test b\n"


class Delivery(SystemTest):
    """One gateway before the hosts `a` (and `b`)."""

    def start(self, a=None, b=None, pool=None, rules=RULES, **settings):
        self.a = a or self.host()
        self.b = b or self.host()
        pools = {"a": {"hosts": self.a.address, **(pool or {})}, "b": self.b.address}
        return self.gateway(rules, pools, **settings)

    def check(self, reply, code, enhanced=None, text=None):
        expected = f"{code} {enhanced}" if enhanced else str(code)
        self.assertTrue(str(reply).startswith(expected), f"{reply} instead of {expected}")
        if text is not None:
            self.assertEqual(reply.text.split(" ", 1)[1] if enhanced else reply.text, text)
