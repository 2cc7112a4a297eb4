//! The files of `deploy/`, judged by what reads them: schemas, HAProxy, systemd, a linter, Cargo, and baton itself.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use support::{haproxy, servers_folder};

const BATON: &str = env!("CARGO_BIN_EXE_baton");
/// The secrets that Kubernetes gets from whoever deploys, by name and key; `deploy/README.md` says how.
const SECRETS: [(&str, &[&str]); 2] = [
    ("baton", &["topology-password", "http-password", "raft-secret"]),
    ("baton-raft-tls", &["tls.crt", "tls.key", "ca.crt"]),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn deploy(path: &str) -> PathBuf {
    root().join("deploy").join(path)
}

/// A program that `install-servers` put in place.
fn checker(name: &str) -> Command {
    let folder = servers_folder().join("checkers");
    assert!(folder.join("ready").exists(), "{name} is missing: run tests/support/install-servers");
    Command::new(folder.join("bin").join(name))
}

/// Both outputs of what has to end well.
fn passes(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("run {command:?}: {error}"));
    let said = said(&output);
    assert!(output.status.success(), "{command:?}: {said}");
    said
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

/// The documents of a YAML file.
fn yaml(path: &Path) -> Vec<Value> {
    let to_json = "import json, sys, yaml; json.dump(list(yaml.safe_load_all(open(sys.argv[1]))), sys.stdout)";
    let json = passes(checker("python").args(["-c", to_json]).arg(path));
    serde_json::from_str(&json).expect("JSON")
}

fn texts(value: &Value) -> Vec<&str> {
    let all = value.as_array().map(Vec::as_slice).unwrap_or_default();
    all.iter().filter_map(Value::as_str).collect()
}

/// Has baton judge a configuration, with exactly these warnings; returns what it makes of each key.
fn accepted(
    config: &Path,
    environment: &[(&str, &str)],
    expected: &[&str],
) -> BTreeMap<String, String> {
    let mut command = Command::new(BATON);
    command.args(["check-config", "--config"]).arg(config);
    let said = passes(command.envs(environment.iter().copied()));
    let warnings: Vec<&str> = said.lines().filter(|it| it.starts_with("warning")).collect();
    let are_expected = warnings.iter().zip(expected).all(|(it, expected)| it.contains(expected));
    assert!(
        are_expected && warnings.len() == expected.len(),
        "{}: {warnings:#?}",
        config.display()
    );
    let pairs = said.lines().filter_map(|line| line.rsplit_once("  (")?.0.split_once(" = "));
    pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// The names of the raft's nodes in a configuration, without their ports.
fn seats(config: &BTreeMap<String, String>) -> Vec<String> {
    let all = config["RaftNodes"].split(['[', ']', ',', ' ', '"']).filter(|it| !it.is_empty());
    all.map(|it| it.split(':').next().unwrap_or(it).to_owned()).collect()
}

#[test]
fn the_example_is_a_good_configuration() {
    accepted(&deploy("baton.example.toml"), &[("TOPOLOGY_PASSWORD", "x")], &[]);
}

#[test]
fn the_example_is_one_node_of_a_raft_where_its_comments_say_so() {
    let text = fs::read_to_string(deploy("baton.example.toml")).expect("the example");
    let (alone, raft) = text.split_once("# One node of three.").expect("how to make a raft");
    let lines = raft.lines().map(|line| match line.strip_prefix("# ") {
        Some(setting) if setting.split(' ').nth(1) == Some("=") => setting,
        _ => line,
    });
    let raft = lines.skip(1).collect::<Vec<_>>().join("\n");
    let alone = alone.replace("ListenAddress", "# ListenAddress");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("baton.toml");
    fs::write(&path, format!("{alone}\n{raft}\n")).expect("it is written");
    let environment = [("TOPOLOGY_PASSWORD", "x"), ("HTTP_PASSWORD", "x")];
    let config = accepted(&path, &environment, &[]);
    assert_eq!(seats(&config).len(), 3);
}

#[test]
fn no_configuration_is_forgotten_here() {
    let found = passes(Command::new("find").arg(deploy("")).args(["-name", "*.toml"]));
    let mut found: Vec<&str> =
        found.lines().filter_map(|it| it.rsplit_once("deploy/")).map(|it| it.1).collect();
    found.sort_unstable();
    assert_eq!(found, ["baton.example.toml", "compose/baton.toml", "kubernetes/baton.toml"]);
}

// --- Kubernetes ---

/// What kustomize is given: the resources, and the names of the generated ConfigMaps with their files.
struct Manifests {
    resources: Vec<Value>,
    config_maps: BTreeMap<String, Vec<String>>,
}

impl Manifests {
    fn read() -> Self {
        let kustomization = yaml(&deploy("kubernetes/kustomization.yaml")).remove(0);
        let files = texts(&kustomization["resources"]);
        let resources = files.iter().flat_map(|file| yaml(&deploy("kubernetes").join(file)));
        let generators = kustomization["configMapGenerator"].as_array().expect("generators");
        let config_maps = generators.iter().map(|it| {
            let files = texts(&it["files"]).into_iter().map(str::to_owned).collect();
            (text(&it["name"]).to_owned(), files)
        });
        Self { resources: resources.collect(), config_maps: config_maps.collect() }
    }

    fn of_kind(&self, kind: &str) -> Vec<&Value> {
        self.resources.iter().filter(|it| it["kind"] == kind).collect()
    }

    /// Whatever runs pods.
    fn workloads(&self) -> Vec<&Value> {
        [self.of_kind("StatefulSet"), self.of_kind("Deployment")].concat()
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// Whether pods of this workload are selected.
fn selects(selector: &Value, workload: &Value) -> bool {
    let labels = &workload["spec"]["template"]["metadata"]["labels"];
    let wanted = selector.as_object().expect("a selector");
    !wanted.is_empty() && wanted.iter().all(|(name, value)| labels[name] == *value)
}

fn names(values: &[Value]) -> BTreeSet<&str> {
    values.iter().map(|it| text(&it["name"])).collect()
}

#[test]
fn manifests_are_what_kubernetes_expects() {
    for file in ["nodes.yaml", "leader.yaml"] {
        let said = passes(
            checker("kubernetes-validate")
                .args(["-k", "1.37", "--strict"])
                .arg(deploy("kubernetes").join(file)),
        );
        assert!(said.contains("passed"), "{said}");
    }
}

#[test]
fn kustomize_builds_what_is_listed_where_there_is_one() {
    let build = Command::new("kubectl").arg("kustomize").arg(deploy("kubernetes")).output();
    let Ok(build) = build else { return };
    assert!(build.status.success(), "{}", said(&build));
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("built.yaml");
    fs::write(&file, &build.stdout).expect("write what was built");
    let said = passes(checker("kubernetes-validate").args(["-k", "1.37", "--strict"]).arg(&file));
    let built = yaml(&file).len();
    let manifests = Manifests::read();
    assert_eq!(built, manifests.resources.len() + manifests.config_maps.len(), "{said}");
}

#[test]
fn every_file_is_listed_and_there() {
    let manifests = Manifests::read();
    let listed = manifests.config_maps.values().flatten().map(String::as_str);
    let listed: BTreeSet<&str> =
        listed.chain(["kustomization.yaml", "nodes.yaml", "leader.yaml"]).collect();
    let found = fs::read_dir(deploy("kubernetes")).expect("the folder");
    let found: BTreeSet<String> =
        found.map(|it| it.expect("a file").file_name().to_string_lossy().into_owned()).collect();
    assert!(found.iter().map(String::as_str).eq(listed), "{found:?}");
}

#[test]
fn selectors_ports_and_mounts_lead_somewhere() {
    let manifests = Manifests::read();
    for service in manifests.of_kind("Service") {
        let name = text(&service["metadata"]["name"]);
        let selector = &service["spec"]["selector"];
        let chosen: Vec<&Value> =
            manifests.workloads().into_iter().filter(|it| selects(selector, it)).collect();
        assert_eq!(chosen.len(), 1, "{name} leads to pods of one kind");
        let container = &chosen[0]["spec"]["template"]["spec"]["containers"][0];
        let open = list(&container["ports"]);
        for port in list(&service["spec"]["ports"]) {
            let target =
                if port["targetPort"].is_null() { &port["port"] } else { &port["targetPort"] };
            let leads =
                open.iter().any(|it| it["name"] == *target || it["containerPort"] == *target);
            assert!(leads, "{name}: {port} is open");
        }
    }
    for workload in manifests.workloads() {
        let spec = &workload["spec"]["template"]["spec"];
        assert!(selects(&workload["spec"]["selector"]["matchLabels"], workload));
        for spread in list(&spec["topologySpreadConstraints"]) {
            assert!(selects(&spread["labelSelector"]["matchLabels"], workload));
        }
        let container = &spec["containers"][0];
        let ports = names(list(&container["ports"]));
        for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
            if probe == "startupProbe" && container[probe].is_null() {
                continue;
            }
            assert!(ports.contains(text(&container[probe]["httpGet"]["port"])), "{probe}");
        }
        let mut volumes = names(list(&spec["volumes"]));
        volumes.extend(
            list(&workload["spec"]["volumeClaimTemplates"])
                .iter()
                .map(|it| text(&it["metadata"]["name"])),
        );
        assert_eq!(names(list(&container["volumeMounts"])), volumes, "all are mounted");
        for volume in list(&spec["volumes"]) {
            let config_map = text(&volume["configMap"]["name"]);
            assert!(config_map.is_empty() || manifests.config_maps.contains_key(config_map));
        }
    }
    let budgets = manifests.of_kind("PodDisruptionBudget");
    for workload in manifests.workloads() {
        let is_kept = |it: &&&Value| selects(&it["spec"]["selector"]["matchLabels"], workload);
        let kept: Vec<_> = budgets.iter().filter(is_kept).collect();
        assert_eq!(kept.len(), 1, "a drain leaves {} running", workload["metadata"]["name"]);
        assert_eq!(kept[0]["spec"]["maxUnavailable"], 1);
    }
    let [policy] = manifests.of_kind("NetworkPolicy")[..] else { panic!("one NetworkPolicy") };
    let nodes = manifests.of_kind("StatefulSet")[0];
    assert!(selects(&policy["spec"]["podSelector"]["matchLabels"], nodes));
}

#[test]
fn pods_are_the_nodes_that_the_configuration_names() {
    let manifests = Manifests::read();
    let [nodes] = manifests.of_kind("StatefulSet")[..] else { panic!("one StatefulSet") };
    let service = text(&nodes["spec"]["serviceName"]);
    let headless = manifests.of_kind("Service").into_iter();
    let headless = headless.filter(|it| it["spec"]["clusterIP"] == "None");
    let headless: Vec<&Value> = headless.filter(|it| it["metadata"]["name"] == service).collect();
    assert_eq!(headless.len(), 1, "{service} gives pods their names");
    assert_eq!(headless[0]["spec"]["publishNotReadyAddresses"], true, "also before they are ready");
    let name = text(&nodes["metadata"]["name"]);
    let replicas = nodes["spec"]["replicas"].as_u64().expect("a number");
    let pods: Vec<String> = (0..replicas).map(|it| format!("{name}-{it}")).collect();
    let container = &nodes["spec"]["template"]["spec"]["containers"][0];
    for pod in &pods {
        let environment: Vec<(String, String)> = list(&container["env"])
            .iter()
            .map(|it| {
                let value = text(&it["value"]).replace("$(POD_NAME)", pod);
                (
                    text(&it["name"]).to_owned(),
                    if value.is_empty() { "x".to_owned() } else { value },
                )
            })
            .collect();
        let environment: Vec<(&str, &str)> =
            environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let config = accepted(&deploy("kubernetes/baton.toml"), &environment, &[]);
        let expected: Vec<String> = pods.iter().map(|it| format!("{it}.{service}")).collect();
        assert_eq!(seats(&config), expected);
        let folders: Vec<&str> =
            list(&container["volumeMounts"]).iter().map(|it| text(&it["mountPath"])).collect();
        for key in
            ["SQLite3DataFile", "RaftDataDir", "RaftSecretFile", "RaftTLSCertFile", "RaftTLSCAFile"]
        {
            let path = config[key].trim_matches('"');
            assert!(folders.iter().any(|it| path.starts_with(it)), "{key} is on a volume: {path}");
        }
    }
    let proxy = fs::read_to_string(deploy("kubernetes/haproxy.cfg")).expect("the proxy's file");
    for pod in &pods {
        assert!(proxy.contains(&format!("\"{pod}.{service}.${{POD_NAMESPACE}}.svc.")), "{pod}");
    }
}

#[test]
fn every_secret_that_is_asked_for_is_explained() {
    let manifests = fs::read_to_string(deploy("kubernetes/nodes.yaml")).expect("the manifests");
    let page = fs::read_to_string(deploy("README.md")).expect("the page");
    let asked = Manifests::read();
    let spec = &asked.of_kind("StatefulSet")[0]["spec"]["template"]["spec"];
    let by_variable =
        list(&spec["containers"][0]["env"]).iter().map(|it| &it["valueFrom"]["secretKeyRef"]);
    for it in by_variable.filter(|it| !it.is_null()) {
        let known = SECRETS.iter().find(|(name, _)| it["name"] == *name).expect("a known secret");
        assert!(known.1.contains(&text(&it["key"])), "{it}");
    }
    for volume in list(&spec["volumes"]).iter().filter(|it| !it["secret"].is_null()) {
        let name = text(&volume["secret"]["secretName"]);
        assert!(SECRETS.iter().any(|(known, _)| *known == name), "{name}");
    }
    for (name, keys) in SECRETS {
        assert!(
            manifests.contains(name) && page.contains(&format!("secret generic {name} ")),
            "{name}"
        );
        for key in keys {
            assert!(
                page.contains(&format!("={key}")) || page.contains(&format!("{key}=")),
                "{key}"
            );
        }
    }
}

// --- Compose ---

#[test]
fn the_composition_is_what_compose_expects() {
    passes(
        checker("check-jsonschema")
            .args(["--builtin-schema", "vendor.compose-spec"])
            .arg(deploy("compose/compose.yaml")),
    );
}

#[test]
fn the_composition_names_what_there_is() {
    let all = yaml(&deploy("compose/compose.yaml")).remove(0);
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    fs::copy(deploy("compose/make-secrets"), folder.join("make-secrets")).expect("copy");
    passes(&mut Command::new(folder.join("make-secrets")));
    let secrets = all["secrets"].as_object().expect("secrets");
    for secret in secrets.values() {
        assert!(folder.join(text(&secret["file"])).exists(), "{secret} is made");
    }
    let services = all["services"].as_object().expect("services");
    for (name, service) in services {
        for secret in texts(&service["secrets"]) {
            assert!(secrets.contains_key(secret), "{name}: {secret}");
        }
        for volume in texts(&service["volumes"]) {
            let from = volume.split(':').next().expect("a source");
            let is_file = from.starts_with('.') && deploy("compose").join(from).exists();
            assert!(is_file || all["volumes"].get(from).is_some(), "{name}: {volume}");
        }
    }
    let batons: Vec<&String> = services.keys().filter(|it| it.starts_with("baton")).collect();
    assert_eq!(services.keys().filter(|it| it.starts_with("db")).count(), 4);
    let config = fs::read_to_string(deploy("compose/baton.toml")).expect("the configuration");
    let config = config.replace("/run/secrets/", &format!("{}/secrets/", folder.display()));
    fs::write(folder.join("baton.toml"), config).expect("write it");
    for name in &batons {
        let seat = text(&services[*name]["environment"]["BATON_RAFTADVERTISE"]);
        assert_eq!(seat, *name);
        // All of it stays within one machine.
        let warned = ["AuthenticationMethod is not set"];
        let seat = [("BATON_RAFTADVERTISE", seat)];
        let config = accepted(&folder.join("baton.toml"), &seat, &warned);
        assert!(seats(&config).iter().eq(batons.iter().copied()), "{config:?}");
        assert!(config["DiscoverySeeds"].contains("db1:3306"), "{config:?}");
    }
}

// --- the others ---

#[test]
fn haproxy_takes_its_files() {
    for file in ["haproxy/haproxy.cfg", "haproxy/orchestrator.cfg", "kubernetes/haproxy.cfg"] {
        let mut command = Command::new(haproxy());
        command.args(["-c", "-f"]).arg(deploy(file)).env("POD_NAMESPACE", "default");
        let said = passes(&mut command);
        assert!(!said.contains("WARNING"), "{said}");
    }
}

#[test]
fn systemd_takes_the_unit_and_calls_it_confined() {
    let unit = fs::read_to_string(deploy("systemd/baton.service")).expect("the unit");
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    fs::create_dir(folder.join("etc")).expect("a folder");
    let file = folder.join("baton.service");
    // It is judged on a machine where baton is not installed.
    fs::write(&file, unit.replace("/usr/bin/baton", BATON)).expect("write the unit");
    let said = passes(Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&file));
    assert_eq!(said.trim(), "", "what it does not know it ignores, and says so");
    let exposure = ["security", "--offline=true", "--threshold=20", "--no-pager"];
    passes(Command::new("systemd-analyze").args(exposure).arg(&file));
    let account = deploy("systemd/baton.sysusers");
    passes(
        Command::new("systemd-sysusers").arg(format!("--root={}", folder.display())).arg(&account),
    );
    let accounts = fs::read_to_string(folder.join("etc/passwd")).expect("accounts");
    let account = accounts.lines().find(|it| it.starts_with("baton:")).expect("the account");
    assert!(account.contains("/var/lib/baton"), "{account}");
    let arguments = "serve --config /etc/baton/baton.toml";
    assert!(unit.contains(&format!("ExecStart=/usr/bin/baton {arguments}\n")));
}

#[test]
fn the_image_is_built_by_the_rules() {
    passes(
        checker("hadolint")
            .args(["--no-color", "--failure-threshold", "style"])
            .arg(deploy("Dockerfile")),
    );
    let needed = fs::read_to_string(root().join("Cargo.toml")).expect("the manifest");
    let needed =
        needed.lines().find_map(|it| it.strip_prefix("rust-version = ")).expect("a version");
    let image = fs::read_to_string(deploy("Dockerfile")).expect("the file");
    assert!(image.contains(&format!("FROM rust:{}-", needed.trim_matches('"'))), "{needed}");
}

#[test]
fn what_the_image_is_built_from_is_all_that_cargo_wants() {
    let context = tempfile::tempdir().expect("a folder");
    let context = context.path();
    let rules = fs::read_to_string(deploy("Dockerfile.dockerignore")).expect("the rules");
    for path in rules.lines().filter_map(|it| it.strip_prefix('!')) {
        passes(Command::new("cp").arg("-r").arg(root().join(path)).arg(context));
    }
    let metadata = ["metadata", "--no-deps", "--locked", "--offline", "--format-version", "1"];
    let cargo = Command::new(env!("CARGO")).args(metadata).current_dir(context).output();
    let cargo = cargo.expect("run cargo");
    assert!(cargo.status.success(), "{}", String::from_utf8_lossy(&cargo.stderr));
}

#[test]
fn the_program_needs_no_library_that_the_image_lacks() {
    let needed = passes(Command::new("ldd").arg(BATON));
    let names = needed.lines().filter_map(|line| line.split_whitespace().next());
    let there = ["linux-vdso.so", "libc.so", "libm.so", "libgcc_s.so", "/lib"];
    let lacking: Vec<&str> =
        names.filter(|it| !there.iter().any(|known| it.starts_with(known))).collect();
    assert!(lacking.is_empty(), "{lacking:?}");
}
