use super::*;

fn listed(entries: &str) -> Networks {
    let entries = entries.split(',').filter(|entry| !entry.is_empty());
    Networks::parse(entries).unwrap()
}

/// What becomes of addresses that have no host, with TLS.
fn check(entries: &str, expected: &str, addresses: &[&str]) {
    let networks = listed(entries);
    for address in addresses {
        let verdict = match networks.admit(None, address.parse().unwrap(), true) {
            Ok(()) => "fine",
            Err(Refused::Never(..)) => "never",
            Err(Refused::Private(_)) => "private",
            Err(_) => "other",
        };
        assert_eq!(verdict, expected, "{address} with {entries:?}");
    }
}

#[test]
fn every_kind_of_address_has_its_verdict() {
    let public = [
        "93.184.216.34",
        "8.8.8.8",
        "172.32.0.1",
        "2606:4700::1111",
        "2a00:1450::1",
    ];
    let loopback = ["127.0.0.1", "127.255.255.254", "::1"];
    let private = [
        "10.0.0.1",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.1.1",
        "100.64.0.1",
        "100.127.255.255",
        "fc00::1",
        "fdff::1",
    ];
    // An IPv6 address that leads to an IPv4 one is what that one is.
    let disguised_public = [
        "::ffff:8.8.8.8",
        "64:ff9b::8.8.8.8",
        "2002:808:808::1",
        "::8.8.8.8",
    ];
    let disguised_private = [
        "::ffff:10.0.0.1",
        "64:ff9b::10.0.0.1",
        "2002:a00:1::",
        "::10.0.0.1",
        "::ffff:7f00:1",
    ];
    let never = [
        "0.0.0.0",
        "0.1.2.3",
        "169.254.169.254",
        "169.254.0.1",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
        "192.0.0.192",
        "192.0.2.1",
        "198.51.100.1",
        "203.0.113.1",
        "198.18.0.1",
        "198.19.255.255",
        "168.63.129.16",
        "100.100.100.200",
        "::",
        "ff02::1",
        "fe80::1",
        "febf::1",
        "fec0::1",
        "fd00:ec2::254",
        "fd20:ce::254",
        "2001:db8::1",
        "2001::1",
        "2001:2::1",
        "100::1",
        "64:ff9b:1::1",
        "::ffff:169.254.169.254",
        "64:ff9b::169.254.169.254",
        "2002:a9fe:a9fe::1",
        "::169.254.169.254",
        "::ffff:0.0.0.0",
    ];
    for entries in [
        "",
        "loopback",
        "private",
        "loopback,private",
        "0.0.0.0/0,::/0",
    ] {
        check(entries, "fine", &public);
        check(entries, "fine", &disguised_public);
        check(entries, "never", &never);
    }
    for addresses in [&private[..], &disguised_private[..4]] {
        check("", "private", addresses);
        check("loopback", "private", addresses);
        check("private", "fine", addresses);
        check("0.0.0.0/0,::/0", "fine", addresses);
    }
    check("", "private", &loopback);
    check("private", "private", &loopback);
    check("loopback", "fine", &loopback);
    check("loopback", "fine", &disguised_private[4..]);
}

#[test]
fn a_network_or_an_address_of_its_own_can_be_listed() {
    let networks = "10.1.0.0/16,fd12:3456::/32,192.168.7.9";
    check(
        networks,
        "fine",
        &["10.1.2.3", "::ffff:10.1.2.3", "fd12:3456::9", "192.168.7.9"],
    );
    check(
        networks,
        "private",
        &["10.2.0.1", "fd12:3457::9", "192.168.7.10", "127.0.0.1"],
    );
    check(
        "10.1.2.3/32,fd00::1/128",
        "private",
        &["10.1.2.2", "fd00::2"],
    );
}

#[test]
fn a_listed_host_may_be_private_but_never_a_metadata_service() {
    let networks = listed("UMS.internal,.svc.cluster.local");
    let at =
        |host: &str, address: &str| networks.admit(Some(host), address.parse().unwrap(), false);
    for host in [
        "ums.internal",
        "UMS.INTERNAL.",
        "gpa.svc.cluster.local",
        "a.b.svc.cluster.local",
    ] {
        for address in ["10.0.0.1", "127.0.0.1", "::1", "8.8.8.8"] {
            assert_eq!(at(host, address), Ok(()), "{host} at {address}");
        }
        assert!(matches!(
            at(host, "169.254.169.254"),
            Err(Refused::Never(..))
        ));
        assert!(matches!(at(host, "fd00:ec2::254"), Err(Refused::Never(..))));
    }
    for host in [
        "xums.internal",
        "ums.internal.example.com",
        "svc.cluster.local",
        ".svc.cluster.local",
    ] {
        assert!(
            matches!(at(host, "10.0.0.1"), Err(Refused::Private(_))),
            "{host}"
        );
    }
}

#[test]
fn only_what_is_listed_is_called_without_tls() {
    let networks = listed("10.0.0.0/8,93.184.0.0/16,gpa.internal");
    let plain = |host, address: &str| networks.admit(host, address.parse().unwrap(), false);
    assert_eq!(plain(None, "10.0.0.1"), Ok(()));
    assert_eq!(plain(None, "93.184.216.34"), Ok(()));
    assert_eq!(plain(Some("gpa.internal"), "8.8.8.8"), Ok(()));
    assert_eq!(
        plain(Some("x.example"), "8.8.8.8"),
        Err(Refused::Plain("8.8.8.8".parse().unwrap()))
    );
}

#[test]
fn what_is_no_entry_is_named() {
    for wrong in [
        "10.0.0.0/33",
        "fd00::/129",
        "10.0.0",
        "300.1.1.1",
        "a b",
        "http://x",
        "x..y",
        ".",
        "-/8",
        "host:80",
        "*.x",
    ] {
        assert_eq!(Networks::parse([wrong].into_iter()), Err(wrong));
    }
    assert!(
        Networks::parse(["loopback", "::/0", "localhost", ".local", "a_b-c.d"].into_iter()).is_ok()
    );
}

#[test]
fn every_range_of_the_tables_can_be_read() {
    for range in LOOPBACK
        .iter()
        .chain(&PRIVATE)
        .chain(NEVER.iter().map(|(range, _)| range))
    {
        assert!(Range::parse(range).is_some(), "{range}");
    }
}
