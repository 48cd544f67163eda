"""Where servers are: every form of an endpoint, read by values."""

import pytest

from crater_model.errors import ServingError
from crater_model.serving.client.addresses import parse_addresses


def test_addresses_of_every_form():
    found = parse_addresses("a:1, grpc://b:2,grpcs://[::1]:3,127.0.0.1:4")
    assert [(a.scheme, a.target, a.is_loopback, a.is_name) for a in found] == [
        ("grpc", "a:1", False, True), ("grpc", "b:2", False, True),
        ("grpcs", "[::1]:3", True, False), ("grpc", "127.0.0.1:4", True, False)]
    assert [a.target for a in parse_addresses(["http://a:1", "https://b:2/"])] == ["a:1", "b:2"]
    assert [a.is_rest for a in parse_addresses(["http://a:1", "https://b:2/"])] == [True, True]


@pytest.mark.parametrize("text, hosts, loopback, name", [
    ("dns:///crater-serving:8500", ["crater-serving"], False, True),
    ("dns:crater-serving:8500", ["crater-serving"], False, True),
    ("dns://127.0.0.1:53/localhost:8500", ["localhost"], True, True),
    ("ipv4:10.0.0.1:8500,10.0.0.2:8500", ["10.0.0.1", "10.0.0.2"], False, False),
    ("ipv4:127.0.0.1:8500", ["127.0.0.1"], True, False),
    ("ipv6:[::1]:8500,[2001:db8::1]:8500", ["::1", "2001:db8::1"], False, False),
    ("unix:/run/crater.sock", [], True, False), ("unix:///run/crater.sock", [], True, False),
    ("unix-abstract:crater", [], True, False)])
def test_grpcs_own_targets(text, hosts, loopback, name):
    for tls, scheme in ((False, "grpc"), (True, "grpcs")):
        (found,) = parse_addresses(text, tls)
        assert (found.scheme, found.target, found.hosts) == (scheme, text, hosts)
        assert (found.is_loopback, found.is_name, found.is_rest) == (loopback, name, False)


def test_lists_of_addresses_keep_their_commas():
    found = parse_addresses("ipv4:10.0.0.1:1,10.0.0.2:2,dns:///a:3,b:4")
    assert [a.target for a in found] == ["ipv4:10.0.0.1:1,10.0.0.2:2", "dns:///a:3", "b:4"]


def test_with_a_ca_what_names_no_scheme_is_tls_and_what_names_none_is_refused():
    assert parse_addresses("a:1", tls=True)[0].scheme == "grpcs"
    for plain in ("grpc://a:1", "http://a:1"):
        with pytest.raises(ServingError, match=f"{plain}: a CA or a certificate was given, and .* "
                                               "without TLS"):
            parse_addresses(plain, tls=True)


@pytest.mark.parametrize("text", ["", "a", "a:0", "a:70000", "a:x", ":5", "ftp://a:1",
                                  "http://a:1/v1", "grpc://dns:///a:1", "xds:///a:1"])
def test_what_is_no_address_is_named(text):
    with pytest.raises(ServingError, match="not an endpoint, expected HOST:PORT"):
        parse_addresses(text)


@pytest.mark.parametrize("text", ["dns:///a", "dns:///a:0", "ipv4:a:1", "ipv4:[::1]:1",
                                  "ipv6:10.0.0.1:1", "ipv4:10.0.0.1", "unix://", "dns:///a:1/b"])
def test_what_grpc_would_not_take_is_named(text):
    with pytest.raises(ServingError, match="not a target that gRPC knows"):
        parse_addresses(text)


def test_the_two_apis_do_not_mix():
    with pytest.raises(ServingError, match="a:1,http://b:2: names servers of both APIs"):
        parse_addresses("a:1,http://b:2")
