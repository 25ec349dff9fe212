//! `system`: the operating system and the hardware, as `/proc`, `/sys` and `/etc` show them.

use super::{Found, Surroundings};
use crate::resource_detection::attributes::Attribute;
use crate::resource_detection::config::System;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What it can find, and whether it is set by default.
pub const ATTRIBUTES: &[(&str, bool)] = &[
    ("host.arch", false),
    ("host.cpu.cache.l2.size", false),
    ("host.cpu.family", false),
    ("host.cpu.model.id", false),
    ("host.cpu.model.name", false),
    ("host.cpu.stepping", false),
    ("host.cpu.vendor.id", false),
    ("host.id", false),
    ("host.interface", false),
    ("host.ip", false),
    ("host.mac", false),
    ("host.name", true),
    ("os.build.id", false),
    ("os.description", false),
    ("os.name", false),
    ("os.type", true),
    ("os.version", false),
];

pub(super) fn detect(
    config: &System,
    surroundings: &Surroundings,
    found: &mut Found<'_>,
) -> Result<(), String> {
    let default = ["dns".to_owned(), "os".to_owned()];
    let sources = if config.hostname_sources.is_empty() { &default[..] } else { &config.hostname_sources };
    let hostname = surroundings.read("proc/sys/kernel/hostname")?;
    let name = sources.iter().find_map(|source| match source.as_str() {
        "dns" => full_name(&surroundings.read("etc/hosts").unwrap_or_default(), &hostname),
        _ => Some(hostname.clone()),
    });
    found.set("host.name", name.ok_or("none of the `hostname_sources` knows the host's name; add `os`")?);
    found.set("os.type", std::env::consts::OS);
    found.set("host.arch", architecture(std::env::consts::ARCH));
    if found.wants("host.id") {
        match surroundings.read("etc/machine-id").or_else(|_| surroundings.read("var/lib/dbus/machine-id")) {
            Ok(id) => found.set("host.id", id),
            Err(error) => tracing::warn!(error, "failed to get host ID"),
        }
    }
    release(surroundings, &hostname, found);
    interfaces(surroundings, found)?;
    if found.wants("host.ip") {
        found.set("host.ip", Attribute::List(addresses(surroundings)));
    }
    processor(surroundings, found)
}

/// The name that /etc/hosts puts first for a host.
fn full_name(hosts: &str, hostname: &str) -> Option<String> {
    hosts.lines().find_map(|line| {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_ascii_whitespace().skip(1);
        let first = words.next()?;
        (first == hostname || words.any(|word| word == hostname)).then(|| first.to_owned())
    })
}

/// Go's names, which OpenTelemetry uses.
fn architecture(rust: &str) -> &str {
    match rust {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "arm" => "arm32",
        "powerpc64" => "ppc64",
        other => other,
    }
}

fn release(surroundings: &Surroundings, hostname: &str, found: &mut Found<'_>) {
    let kernel = |file: &str| surroundings.read(&format!("proc/sys/kernel/{file}")).unwrap_or_default();
    let text = surroundings.read("etc/os-release").or_else(|_| surroundings.read("usr/lib/os-release"));
    let release = os_release(&text.unwrap_or_default());
    let get = |key: &str| release.get(key).cloned().unwrap_or_default();
    let uname = format!(
        "{} {hostname} {} {} {}",
        kernel("ostype"),
        kernel("osrelease"),
        kernel("version"),
        std::env::consts::ARCH
    );
    let named = [get("NAME"), get("VERSION"), get("VERSION_ID"), get("PRETTY_NAME")];
    let description = match &named {
        [name, version, ..] if !name.is_empty() && !version.is_empty() => format!("{name} {version}"),
        [name, _, version, _] if !name.is_empty() && !version.is_empty() => format!("{name} {version}"),
        [.., pretty] => pretty.clone(),
    };
    let description = if description.is_empty() { uname } else { format!("{description} ({uname})") };
    found.set("os.description", description);
    let name = get("ID");
    // Debian's own file knows the point release.
    let version = match surroundings.read("etc/debian_version") {
        Ok(version) if name == "debian" => version,
        _ => get("VERSION_ID"),
    };
    if !name.is_empty() {
        found.set("os.name", name);
    }
    if !version.is_empty() {
        found.set("os.version", version);
    }
    let build = get("BUILD_ID");
    found.set("os.build.id", if build.is_empty() { kernel("osrelease") } else { build });
}

/// The keys and values of an os-release file.
fn os_release(text: &str) -> BTreeMap<String, String> {
    let pairs = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    let pairs = pairs.filter_map(|line| line.split_once('='));
    pairs.map(|(key, value)| (key.trim().to_owned(), unquoted(value.trim()))).collect()
}

fn unquoted(value: &str) -> String {
    let inner = ['"', '\''].into_iter().find_map(|quote| value.strip_prefix(quote)?.strip_suffix(quote));
    let mut out = String::new();
    let mut chars = inner.unwrap_or(value).chars().peekable();
    while let Some(c) = chars.next() {
        match (c, chars.peek()) {
            ('\\', Some(next @ ('$' | '"' | '\'' | '\\' | '`'))) => {
                out.push(*next);
                chars.next();
            }
            _ => out.push(c),
        }
    }
    out
}

/// Names of all interfaces, and the addresses of those that are up and lead somewhere.
fn interfaces(surroundings: &Surroundings, found: &mut Found<'_>) -> Result<(), String> {
    const UP: u32 = 1;
    const LOOPBACK: u32 = 1 << 3;
    if !found.wants("host.mac") && !found.wants("host.interface") {
        return Ok(());
    }
    let folder = surroundings.path("sys/class/net");
    let entries =
        std::fs::read_dir(&folder).map_err(|error| format!("cannot read {}: {error}", folder.display()))?;
    let mut interfaces: Vec<(u32, String)> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter_map(|name| {
            let index = surroundings.read(&format!("sys/class/net/{name}/ifindex")).ok()?;
            Some((index.parse().ok()?, name))
        })
        .collect();
    interfaces.sort();
    let flags = |name: &str| {
        let flags = surroundings.read(&format!("sys/class/net/{name}/flags")).unwrap_or_default();
        u32::from_str_radix(flags.trim_start_matches("0x"), 16).unwrap_or_default()
    };
    let macs = interfaces.iter().filter(|(_, name)| flags(name) & (UP | LOOPBACK) == UP).map(|(_, name)| {
        let mac = surroundings.read(&format!("sys/class/net/{name}/address")).unwrap_or_default();
        mac.to_uppercase().replace(':', "-")
    });
    found.set("host.mac", Attribute::List(macs.collect()));
    found.set("host.interface", Attribute::List(interfaces.into_iter().map(|(_, name)| name).collect()));
    Ok(())
}

/// The addresses of this host that others can use, IPv4 first.
fn addresses(surroundings: &Surroundings) -> Vec<String> {
    let trie = surroundings.read("proc/net/fib_trie").unwrap_or_default();
    let six = surroundings.read("proc/net/if_inet6").unwrap_or_default();
    let mut addresses: Vec<IpAddr> = Vec::new();
    let all = local_v4(&trie).map(IpAddr::V4).chain(six.lines().filter_map(v6).map(IpAddr::V6));
    for address in all.filter(|address| !address.is_loopback()) {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    addresses.iter().map(ToString::to_string).collect()
}

/// The routing table lists each address of this host as a route of its own, on the line before what kind it is.
fn local_v4(trie: &str) -> impl Iterator<Item = Ipv4Addr> {
    let pairs = trie.lines().zip(trie.lines().skip(1));
    pairs.filter(|(_, kind)| kind.trim() == "/32 host LOCAL").filter_map(|(address, _)| {
        address.trim().strip_prefix("|-- ").and_then(|address| address.parse().ok())
    })
}

/// A line of `/proc/net/if_inet6` begins with the address in 32 digits.
fn v6(line: &str) -> Option<Ipv6Addr> {
    u128::from_str_radix(line.split_ascii_whitespace().next()?, 16).ok().map(Ipv6Addr::from)
}

fn processor(surroundings: &Surroundings, found: &mut Found<'_>) -> Result<(), String> {
    const KEYS: [(&str, &str); 5] = [
        ("vendor_id", "host.cpu.vendor.id"),
        ("cpu family", "host.cpu.family"),
        ("model", "host.cpu.model.id"),
        ("model name", "host.cpu.model.name"),
        ("stepping", "host.cpu.stepping"),
    ];
    const CACHE: &str = "host.cpu.cache.l2.size";
    if !found.wants(CACHE) && !KEYS.iter().any(|(_, name)| found.wants(name)) {
        return Ok(());
    }
    let text = surroundings.read("proc/cpuinfo")?;
    let first = text.split("\n\n").next().unwrap_or_default();
    for (key, value) in first.lines().filter_map(|line| line.split_once(':')) {
        let (key, value) = (key.trim(), value.trim());
        if let Some((_, name)) = KEYS.iter().find(|(known, _)| *known == key) {
            found.set(name, value);
        } else if key == "cache size"
            && let Ok(size) = value.trim_end_matches(" KB").parse()
        {
            found.set(CACHE, Attribute::Int(size));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_full_name_is_the_first_of_the_host_s_line() {
        let hosts = "127.0.0.1 localhost # this.host this\n10.0.0.1\tthis.example.com this\n10.0.0.2 alone";
        assert_eq!(full_name(hosts, "this").as_deref(), Some("this.example.com"));
        assert_eq!(full_name(hosts, "alone").as_deref(), Some("alone"));
        assert_eq!(full_name(hosts, "other"), None);
    }

    #[test]
    fn release_files_are_read_as_a_shell_would() {
        let release = os_release("# a\nNAME=\"A \\\"B\\\"\"\nID=x\nEMPTY=\nC='d e'\nno pair");
        assert_eq!((release["NAME"].as_str(), release["ID"].as_str()), ("A \"B\"", "x"));
        assert_eq!((release["EMPTY"].as_str(), release["C"].as_str()), ("", "d e"));
    }

    #[test]
    fn addresses_are_found_in_the_routing_table() {
        let trie = "Main:\n  |-- 10.0.0.0\n     /24 link UNICAST\n  |-- 10.0.0.7\n     /32 host LOCAL\n  |-- 10.0.0.255\n     /32 link BROADCAST\n";
        assert_eq!(local_v4(trie).collect::<Vec<_>>(), [Ipv4Addr::new(10, 0, 0, 7)]);
        let line = "fe80000000000000000000fffe000001 02 40 20 80     eth0";
        assert_eq!(v6(line), Some("fe80::ff:fe00:1".parse().expect("an address")));
        assert_eq!(v6("zz"), None);
    }
}
