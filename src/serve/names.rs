//! What this machine is called, as far as its own files say: nobody is asked.

use std::collections::BTreeSet;

/// The names of the machine: what it calls itself, the same in each domain that names are searched
/// in, and what stands beside it in the table of hosts.
pub(super) fn of_machine(name: &str) -> BTreeSet<String> {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    from_files(name, &read("/etc/hosts"), &read("/etc/resolv.conf"))
}

fn from_files(name: &str, hosts: &str, resolver: &str) -> BTreeSet<String> {
    let short = name.split('.').next().unwrap_or(name);
    let mut names = BTreeSet::from([name.to_owned(), short.to_owned()]);
    for line in hosts.lines() {
        let line = line.split('#').next().unwrap_or_default();
        let beside: Vec<&str> = line.split_whitespace().skip(1).collect();
        if beside.iter().any(|it| *it == name || *it == short) {
            names.extend(beside.into_iter().map(str::to_owned));
        }
    }
    for line in resolver.lines() {
        let mut words = line.split_whitespace();
        if matches!(words.next(), Some("search" | "domain")) {
            names.extend(words.map(|domain| format!("{short}.{domain}")));
        }
    }
    names.retain(|it| !it.is_empty());
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_called_what_its_files_say() {
        let hosts = "127.0.0.1 localhost\n127.0.1.1 orch1.prod.example.com orch1 # ours\n\
                     10.0.0.2 orch2.prod.example.com orch2\n";
        let resolver = "nameserver 10.0.0.1\nsearch example.com svc.example.com\n";
        let expected =
            ["orch1", "orch1.example.com", "orch1.prod.example.com", "orch1.svc.example.com"];
        assert_eq!(from_files("orch1", hosts, resolver), expected.map(str::to_owned).into());
        assert_eq!(from_files("orch1", "", ""), ["orch1".to_owned()].into());
    }
}
