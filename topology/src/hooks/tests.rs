use proptest::prelude::*;

use super::*;
use crate::testing::key;

fn facts() -> RecoveryFacts {
    RecoveryFacts {
        failure_type: "DeadSource".into(),
        instance_type: "source".into(),
        is_primary: true,
        is_co_primary: false,
        description: "nobody's there".into(),
        command: "take-over".into(),
        failed: key("db1"),
        cluster_name: "db1:3306".into(),
        cluster_alias: "shop".into(),
        cluster_domain: "shop.example.com".into(),
        replica_count: 3,
        is_downtimed: false,
        auto_recover_primary: true,
        auto_recover_intermediate: false,
        node_name: "baton1".into(),
        recovery_uid: "uid-1".into(),
        is_successful: true,
        lost_replicas: vec![key("db3"), key("db4")],
        lost_transaction_count: 2,
        lost_transactions: "u:8-9".into(),
        is_fenced: true,
        replicas: vec![key("db2"), key("db3"), key("db4")],
        successor: Some(Successor {
            key: InstanceKey::new("db2", 3307),
            coordinates: BinlogCoordinates::new("bin.000007", 42),
            alias: "second".into(),
        }),
    }
}

fn recovery(facts: RecoveryFacts) -> HookContext {
    HookContext::Recovery(Box::new(facts))
}

fn body(template: &str) -> String {
    let prepared = prepare(template, &recovery(facts()), PlaceholderStyle::Quoted);
    prepared.text.lines().last().unwrap_or_default().to_owned()
}

#[test]
fn every_fact_has_its_variable_and_its_placeholders() {
    let expected = [
        ("ORC_FAILURE_TYPE", &["{failureType}"][..], "DeadSource"),
        ("ORC_INSTANCE_TYPE", &["{instanceType}"][..], "source"),
        ("ORC_IS_MASTER", &["{isMaster}"][..], "true"),
        ("ORC_IS_CO_MASTER", &["{isCoMaster}"][..], "false"),
        ("ORC_FAILURE_DESCRIPTION", &["{failureDescription}"][..], "nobody's there"),
        ("ORC_COMMAND", &["{command}"][..], "take-over"),
        ("ORC_FAILED_HOST", &["{failedHost}"][..], "db1"),
        ("ORC_FAILED_PORT", &["{failedPort}"][..], "3306"),
        ("ORC_FAILURE_CLUSTER", &["{failureCluster}"][..], "db1:3306"),
        ("ORC_FAILURE_CLUSTER_ALIAS", &["{failureClusterAlias}"][..], "shop"),
        ("ORC_FAILURE_CLUSTER_DOMAIN", &["{failureClusterDomain}"][..], "shop.example.com"),
        ("ORC_COUNT_REPLICAS", &["{countReplicas}", "{countSlaves}"][..], "3"),
        ("ORC_IS_DOWNTIMED", &["{isDowntimed}"][..], "false"),
        ("ORC_AUTO_MASTER_RECOVERY", &["{autoMasterRecovery}"][..], "true"),
        (
            "ORC_AUTO_INTERMEDIATE_MASTER_RECOVERY",
            &["{autoIntermediateMasterRecovery}"][..],
            "false",
        ),
        ("ORC_ORCHESTRATOR_HOST", &["{orchestratorHost}"][..], "baton1"),
        ("ORC_RECOVERY_UID", &["{recoveryUID}"][..], "uid-1"),
        ("ORC_IS_SUCCESSFUL", &["{isSuccessful}"][..], "true"),
        ("ORC_LOST_REPLICAS", &["{lostReplicas}", "{lostSlaves}"][..], "db3:3306,db4:3306"),
        ("ORC_COUNT_LOST_REPLICAS", &["{countLostReplicas}"][..], "2"),
        ("ORC_LOST_TRANSACTIONS", &["{lostTransactions}"][..], "u:8-9"),
        ("ORC_COUNT_LOST_TRANSACTIONS", &["{countLostTransactions}"][..], "2"),
        ("ORC_IS_FENCED", &["{isFenced}"][..], "true"),
        (
            "ORC_REPLICA_HOSTS",
            &["{replicaHosts}", "{slaveHosts}"][..],
            "db2:3306,db3:3306,db4:3306",
        ),
        ("ORC_SUCCESSOR_HOST", &["{successorHost}"][..], "db2"),
        ("ORC_SUCCESSOR_PORT", &["{successorPort}"][..], "3307"),
        (
            "ORC_SUCCESSOR_BINLOG_COORDINATES",
            &["{successorBinlogCoordinates}"][..],
            "bin.000007:42",
        ),
        ("ORC_SUCCESSOR_ALIAS", &["{successorAlias}"][..], "second"),
    ];
    let context = recovery(facts());
    let found = environment(&context);
    assert_eq!(found.len(), expected.len());
    for ((variable, value), (name, placeholders, text)) in found.iter().zip(expected) {
        assert_eq!((variable.as_str(), value.as_str()), (name, text));
        for placeholder in placeholders {
            assert_eq!(prepare(placeholder, &context, PlaceholderStyle::Quoted).shown, text);
        }
    }
}

#[test]
fn without_a_successor_nothing_is_said_about_one() {
    let context = recovery(RecoveryFacts { successor: None, ..facts() });
    let prepared = prepare("a {successorHost} {failedHost}", &context, PlaceholderStyle::Quoted);
    assert_eq!(prepared.text, "ORC_FAILED_HOST='db1'\na {successorHost} \"${ORC_FAILED_HOST}\"");
    assert_eq!(prepared.shown, "a {successorHost} db1");
    assert!(!environment(&context).iter().any(|(name, _)| name.contains("SUCCESSOR")));
}

#[test]
fn a_reference_fits_the_quotes_around_it() {
    let host = "${ORC_FAILED_HOST}";
    for (case, template, expected) in [
        ("bare", "a {failedHost}", format!("a \"{host}\"")),
        ("within a word", "a --h={failedHost}.log", format!("a --h=\"{host}\".log")),
        ("in single quotes", "a 'x {failedHost} y'", format!("a 'x '\"{host}\"' y'")),
        ("in double quotes", "a \"x {failedHost} y\"", format!("a \"x {host} y\"")),
        ("after single quotes", "a 'x' {failedHost}", format!("a 'x' \"{host}\"")),
        ("after an escaped quote", "a \\' {failedHost}", format!("a \\' \"{host}\"")),
        ("no escape in single quotes", "a '\\' {failedHost}", format!("a '\\' \"{host}\"")),
        ("a quote in the other quotes", "a \"it's {failedHost}\"", format!("a \"it's {host}\"")),
        ("escaped double quotes", "\"{\\\"{failedHost}\\\"}\"", format!("\"{{\\\"{host}\\\"}}\"")),
        ("in escaping quotes", "a $'\\'{failedHost}'", format!("a $'\\''\"{host}\"$''")),
        ("in a substitution", "\"$(a '{failedHost}')\"", format!("\"$(a ''\"{host}\"'')\"")),
        ("after a substitution", "\"$(a 'x') {failedHost}\"", format!("\"$(a 'x') {host}\"")),
        ("after backticks", "\"`a \"x\"` {failedHost}\"", format!("\"`a \"x\"` {host}\"")),
        ("in parentheses", "(a {failedHost})", format!("(a \"{host}\")")),
        ("behind an odd quote in a comment", "a # it's {failedHost}", format!("a # it's {host}")),
        ("a hash within a word", "a#'{failedHost}'", format!("a#''\"{host}\"''")),
        (
            "a hash behind a value",
            "{failedHost}#'{failedHost}'",
            format!("\"{host}\"#''\"{host}\"''"),
        ),
        ("a variable of the shell", "${command} {failedHost}", format!("${{command}} \"{host}\"")),
        ("an escaped brace", "a \\{failedHost}", "a \\{failedHost}".into()),
        ("something else in braces", "a {x} {} {failedHost", "a {x} {} {failedHost".into()),
        ("text that is not ASCII", "ä 'ö{failedHost}' \\ü", format!("ä 'ö'\"{host}\"'' \\ü")),
        ("nothing", "", String::new()),
    ] {
        assert_eq!(body(template), expected, "case: {case}");
    }
}

#[test]
fn values_are_assigned_once_and_quoted() {
    let context = recovery(RecoveryFacts { cluster_alias: "a'$(b)\0`\n".into(), ..facts() });
    let template = "x {failureClusterAlias} '{failureClusterAlias}'";
    let prepared = prepare(template, &context, PlaceholderStyle::Quoted);
    let alias = "${ORC_FAILURE_CLUSTER_ALIAS}";
    assert_eq!(
        prepared.text,
        format!("ORC_FAILURE_CLUSTER_ALIAS='a'\\''$(b)`\n'\nx \"{alias}\" ''\"{alias}\"''")
    );
    let prepared = prepare(template, &context, PlaceholderStyle::Verbatim);
    assert_eq!(prepared.text, "x a'$(b)`\n 'a'$(b)`\n'", "as the operator asked for");
    assert_eq!(prepared.text, prepared.shown);
}

#[test]
fn a_value_is_not_searched_for_placeholders() {
    let context = recovery(RecoveryFacts { cluster_alias: "{failedHost}".into(), ..facts() });
    let prepared = prepare("{failureClusterAlias}", &context, PlaceholderStyle::Verbatim);
    assert_eq!(prepared.text, "{failedHost}");
}

#[test]
fn a_trailing_ampersand_sends_a_hook_to_the_background() {
    for (template, text, waits) in [
        ("a", "a", Waits::ForEnd),
        ("a &", "a", Waits::Background),
        (" a >x 2>&1 & ", "a >x 2>&1", Waits::Background),
        ("a & b", "a & b", Waits::ForEnd),
        ("&", "", Waits::Background),
    ] {
        let prepared = prepare(template, &recovery(facts()), PlaceholderStyle::Quoted);
        assert_eq!((prepared.text.as_str(), prepared.waits), (text, waits), "{template}");
    }
}

#[test]
fn taking_the_place_of_a_source_is_told_by_arguments() {
    let context = HookContext::TakePrimary { successor: key("db2"), demoted: key("db1") };
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(
        environment(&context),
        [pair("ORC_SUCCESSOR_HOST", "db2:3306"), pair("ORC_FAILED_HOST", "db1:3306")]
    );
    assert_eq!(arguments(&context), ["db2:3306", "db1:3306"]);
    let prepared = prepare("a {failedHost} \"$1\"", &context, PlaceholderStyle::Quoted);
    assert_eq!(prepared.text, "a {failedHost} \"$1\"", "there are no placeholders");
    let json = serde_json::to_string(&context).unwrap();
    assert_eq!(json, r#"{"successor":"db2:3306","demoted":"db1:3306"}"#);
}

#[test]
fn only_what_runs_before_can_stop_what_follows() {
    use HookList::*;
    for (list, expected) in [
        (FailureDetection, OnFailure::Abort),
        (PreGracefulTakeover, OnFailure::Abort),
        (PreFailover, OnFailure::Abort),
        (PostPrimaryFailover, OnFailure::Continue),
        (PostIntermediateFailover, OnFailure::Continue),
        (PostFailover, OnFailure::Continue),
        (PostUnsuccessfulFailover, OnFailure::Continue),
        (PostGracefulTakeover, OnFailure::Continue),
        (PostTakePrimary, OnFailure::Continue),
    ] {
        assert_eq!(list.on_failure(), expected, "{list:?}");
    }
}

#[test]
fn a_list_is_prepared_in_order() {
    let commands = HookCommands { name: "x".into(), commands: vec!["a".into(), "b &".into()] };
    let policy = HookPolicy {
        lists: BTreeMap::from([(HookList::PostFailover, commands)]),
        ..HookPolicy::default()
    };
    let context = recovery(facts());
    let texts = |list| policy.prepare(list, &context).into_iter().map(|c| c.text).collect();
    let (all, none): (Vec<String>, Vec<String>) =
        (texts(HookList::PostFailover), texts(HookList::PreFailover));
    assert_eq!(all, ["a", "b"]);
    assert!(none.is_empty());
}

proptest! {
    #[test]
    fn the_text_for_the_shell_never_holds_a_value_outside_of_its_assignment(
        template in "[a-z {}$()'\"`#\\\\\n]{0,20}(\\{failureClusterAlias\\})?[a-z {}$()'\"`#\\\\\n]{0,20}",
    ) {
        let context = recovery(RecoveryFacts { cluster_alias: "!EVIL!".into(), ..facts() });
        let prepared = prepare(&template, &context, PlaceholderStyle::Quoted);
        let assignment = "ORC_FAILURE_CLUSTER_ALIAS='!EVIL!'\n";
        let body = prepared.text.strip_prefix(assignment).unwrap_or(&prepared.text);
        prop_assert!(!body.contains("EVIL"));
    }

    #[test]
    fn a_text_without_placeholders_stays_as_it_is(template in "\\PC{0,40}x") {
        prop_assume!(!template.contains('{'));
        let prepared = prepare(&template, &recovery(facts()), PlaceholderStyle::Quoted);
        prop_assert_eq!(prepared.text, template.trim());
    }
}
