//! Hooks as real processes: what they are told, what they may cost, and what values cannot do.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use baton_actors::hooks::{
    HOOKS_MAX, HookEvent, HookFailure, HookListener, HookReport, HookRunner,
};
use baton_topology::hooks::{
    HookCommands, HookContext, HookList, HookPolicy, PlaceholderStyle, RecoveryFacts,
};
use baton_topology::key::InstanceKey;
use tempfile::TempDir;
use tokio::sync::mpsc;

const SHORT: Duration = Duration::from_millis(300);

fn key(name: &str) -> InstanceKey {
    InstanceKey::new(name, 3306)
}

fn facts() -> RecoveryFacts {
    RecoveryFacts {
        failure_type: "DeadMaster".into(),
        instance_type: "master".into(),
        is_primary: true,
        is_co_primary: false,
        description: "nobody's there".into(),
        command: String::new(),
        failed: key("db1"),
        cluster_name: "db1:3306".into(),
        cluster_alias: "shop".into(),
        cluster_domain: String::new(),
        replica_count: 2,
        is_downtimed: false,
        auto_recover_primary: true,
        auto_recover_intermediate: false,
        node_name: "baton1".into(),
        recovery_uid: "uid-1".into(),
        is_successful: false,
        lost_replicas: Vec::new(),
        lost_transaction_count: 0,
        lost_transactions: String::new(),
        is_fenced: false,
        replicas: vec![key("db2"), key("db3")],
        successor: None,
    }
}

fn context() -> HookContext {
    HookContext::Recovery(Box::new(facts()))
}

fn with_alias(alias: &str) -> HookContext {
    HookContext::Recovery(Box::new(RecoveryFacts { cluster_alias: alias.into(), ..facts() }))
}

fn policy(list: HookList, commands: &[&str]) -> HookPolicy {
    let commands = commands.iter().map(|&command| command.to_owned()).collect();
    let name = "TheseProcesses".to_owned();
    HookPolicy {
        lists: BTreeMap::from([(list, HookCommands { name, commands })]),
        ..HookPolicy::default()
    }
}

/// A listener, and where one hears what it heard.
fn ears() -> (HookListener, mpsc::UnboundedReceiver<String>) {
    let (said, heard) = mpsc::unbounded_channel();
    let listener: HookListener = Arc::new(move |event: HookEvent<'_>| {
        let _ = said.send(event.to_string());
    });
    (listener, heard)
}

async fn run_as(policy: &HookPolicy, list: HookList, context: &HookContext) -> HookReport {
    let (listener, _heard) = ears();
    HookRunner::of_process().run_list(list, context, policy, &listener).await
}

async fn run(commands: &[&str], context: &HookContext) -> HookReport {
    let list = HookList::PostFailover;
    run_as(&policy(list, commands), list, context).await
}

/// What one hook that succeeds says.
async fn output(command: &str, context: &HookContext) -> String {
    let mut report = run(&[command], context).await;
    let outcome = report.outcomes.remove(0);
    assert!(outcome.result.is_ok(), "{outcome}");
    outcome.output
}

/// Whether the process is there and not merely waiting for somebody to hear of its end.
fn lives(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// Everything heard, without how long it took.
fn lines(heard: &mut mpsc::UnboundedReceiver<String>) -> Vec<String> {
    let mut lines = Vec::new();
    while let Ok(line) = heard.try_recv() {
        let timed = line.split_once(" in ").or_else(|| line.split_once(" after "));
        let (before, after) = timed.unwrap_or((&line, ""));
        let after = after.split_once(": ").map_or("", |(_, text)| text);
        lines.push(format!("{before} {after}").trim().to_owned());
    }
    lines
}

#[tokio::test]
async fn hooks_run_in_order_and_each_is_announced_and_reported() {
    let folder = TempDir::new().unwrap();
    let log = folder.path().join("log");
    let (first, second) = (
        format!("echo 'a {{failedHost}}' | tee -a {0}", log.display()),
        format!("echo b >> {0}", log.display()),
    );
    let (listener, mut heard) = ears();
    let policy = policy(HookList::PreFailover, &[&first, "echo oops >&2; exit 7", &second]);
    let runner = HookRunner::of_process();
    let report = runner.run_list(HookList::PreFailover, &context(), &policy, &listener).await;
    assert!(report.aborted);
    assert!(matches!(report.first_failure().unwrap().result, Err(HookFailure::Exit(7))));
    assert_eq!(fs::read_to_string(&log).unwrap(), "a db1\n");
    assert_eq!(
        lines(&mut heard),
        [
            &format!("Running TheseProcesses hook 1 of 3: echo 'a db1' | tee -a {}", log.display()),
            "Completed TheseProcesses hook 1 of 3 a db1",
            "Running TheseProcesses hook 2 of 3: echo oops >&2; exit 7",
            "TheseProcesses hook 2 of 3 failed exit status 7; output: oops",
            "Not running further TheseProcesses hooks (1 left)",
        ]
    );
}

#[tokio::test]
async fn a_failure_stops_only_lists_that_come_before() {
    for (list, outcomes, aborted) in [
        (HookList::FailureDetection, 1, true),
        (HookList::PreGracefulTakeover, 1, true),
        (HookList::PreFailover, 1, true),
        (HookList::PostFailover, 2, false),
        (HookList::PostUnsuccessfulFailover, 2, false),
    ] {
        let report = run_as(&policy(list, &["false", "true"]), list, &context()).await;
        assert_eq!((report.outcomes.len(), report.aborted), (outcomes, aborted), "{list:?}");
        assert!(report.first_failure().is_some());
    }
    let none = run_as(&HookPolicy::default(), HookList::PreFailover, &context()).await;
    assert!(none.outcomes.is_empty() && !none.aborted, "no hooks, no objection");
}

#[tokio::test]
async fn no_value_runs_whatever_the_quotes_around_it() {
    let folder = TempDir::new().unwrap();
    let trap = folder.path().join("trap");
    let touch = format!("touch {}", trap.display());
    let values = [
        format!("$({touch})"),
        format!("`{touch}`"),
        format!("'; {touch}; '"),
        format!("\"; {touch}; \""),
        format!("x\n{touch}\n#y"),
        format!("'$({touch})'\"$({touch})\""),
        format!(") ; {touch}"),
        format!("}}\"; {touch}"),
        "* ~ $HOME ${IFS} \\ \\\\ !! ä \u{1}".to_owned(),
        String::new(),
        "{failedHost}".to_owned(),
    ];
    for (template, expected) in [
        ("printf %s {failureClusterAlias}", "V"),
        ("printf %s 'x {failureClusterAlias} y'", "x V y"),
        ("printf %s \"x {failureClusterAlias} y\"", "x V y"),
        ("printf %s $'x\\'{failureClusterAlias}\\'y'", "x'V'y"),
        ("printf %s --a={failureClusterAlias}", "--a=V"),
        ("x={failureClusterAlias}; printf %s \"$x\"", "V"),
        ("printf %s \"$(printf %s. 'a {failureClusterAlias}')\"", "a V."),
        ("printf %s \"$(date '+it''s' >/dev/null){failureClusterAlias}\"", "V"),
        ("printf %s \"{\\\"k\\\": \\\"{failureClusterAlias}\\\"}\"", "{\"k\": \"V\"}"),
        ("printf %s '{\"k\": \"{failureClusterAlias}\"}'", "{\"k\": \"V\"}"),
        ("# it's {failureClusterAlias}\nprintf %s {failureClusterAlias}", "V"),
        ("if [[ {failureClusterAlias} == x ]]; then :; fi; printf %s {failedHost}", "db1"),
        ("printf %s it\\'s' '{failureClusterAlias}", "it's V"),
    ] {
        for value in &values {
            let said = output(template, &with_alias(value)).await;
            assert_eq!(said, expected.replace('V', value), "{template} with {value:?}");
            assert!(!trap.exists(), "{template} ran {value:?}");
        }
    }
    // Read wrongly, and still nothing runs.
    for template in [
        "cat <<EOF\nit's {failureClusterAlias}\nEOF",
        "cat <<EOF\nit is {failureClusterAlias} \"{failureClusterAlias}\"\nEOF",
        "case x in x) echo \"$(case y in y) echo '{failureClusterAlias}';; esac)\";; esac",
        "echo `echo '{failureClusterAlias}'` \"${x:-'{failureClusterAlias}'}\"",
    ] {
        for value in &values {
            run(&[template], &with_alias(value)).await;
            assert!(!trap.exists(), "{template} ran {value:?}");
        }
    }
}

/// Quotes in quotes, also those that this is known to misread: every pair of ways to begin.
#[tokio::test]
async fn no_value_runs_even_where_quotes_are_misread() {
    const WAYS: [(&str, &str); 12] = [
        ("", ""),
        ("'", "'"),
        ("\"", "\""),
        ("$'", "'"),
        ("\\", ""),
        ("`", "`"),
        ("$(echo ", ")"),
        ("(", ")"),
        ("# ", "\n"),
        ("${x:-", "}"),
        ("<<E\n", "\nE\n"),
        ("$", ""),
    ];
    let folder = TempDir::new().unwrap();
    let trap = folder.path().join("trap");
    let touch = format!("touch {}", trap.display());
    let templates: Vec<String> = WAYS
        .iter()
        .flat_map(|outer| WAYS.iter().map(move |inner| (outer, inner)))
        .map(|((a, z), (b, y))| format!("echo {a}{b}{{failureClusterAlias}}{y}{z}"))
        .collect();
    let templates: Vec<&str> = templates.iter().map(String::as_str).collect();
    for value in [
        format!("$({touch})`{touch}`"),
        format!("'\n{touch}\n'"),
        format!("\"\n{touch}\n\""),
        format!(")}}\nE\n{touch}\n"),
    ] {
        for shell in ["bash", "sh"] {
            let list = HookList::PostFailover;
            let policy = HookPolicy { shell: shell.into(), ..policy(list, &templates) };
            let report = run_as(&policy, list, &with_alias(&value)).await;
            assert_eq!(report.outcomes.len(), templates.len());
            assert!(!trap.exists(), "{shell} ran {value:?}");
        }
    }
}

#[tokio::test]
async fn verbatim_values_run_because_the_operator_wants_it() {
    let list = HookList::PostFailover;
    let policy = HookPolicy {
        placeholders: PlaceholderStyle::Verbatim,
        ..policy(list, &["echo {failureClusterAlias}"])
    };
    let report = run_as(&policy, list, &with_alias("$(echo ran)")).await;
    assert_eq!(report.outcomes[0].output, "ran\n");
}

#[tokio::test]
async fn a_deadline_ends_the_hook_and_all_it_started() {
    let folder = TempDir::new().unwrap();
    let pids = folder.path().join("pids");
    let stubborn = format!(
        "(trap '' TERM; echo $BASHPID >> {0}; while :; do sleep 1000; done) &\n\
         sleep 1000 & echo $! >> {0}; echo $$ >> {0}; echo waiting; wait",
        pids.display()
    );
    let list = HookList::PreFailover;
    let policy = HookPolicy { timeout: SHORT, ..policy(list, &[&stubborn, "true"]) };
    let report = run_as(&policy, list, &context()).await;
    let outcome = &report.outcomes[0];
    assert!(matches!(outcome.result, Err(HookFailure::Deadline(SHORT))), "{outcome}");
    assert_eq!(outcome.output, "waiting\n", "what it said until then is kept");
    assert!(report.aborted);
    let pids = fs::read_to_string(&pids).unwrap();
    assert_eq!(pids.lines().count(), 3);
    // Who was killed takes a moment to die.
    tokio::time::timeout(Duration::from_secs(10), async {
        while pids.lines().any(lives) {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap_or_else(|_| panic!("they live on: {pids}"));
}

#[tokio::test]
async fn what_runs_is_shown_and_a_person_can_end_it() {
    let runner = HookRunner::of_process();
    let list = HookList::PreFailover;
    let policy = policy(list, &["echo waiting; sleep 1000 & wait", "true"]);
    assert_eq!(policy.timeout_of(list), Duration::from_secs(24 * 60 * 60));
    let (listener, _heard) = ears();
    let context = context();
    let run = runner.run_list(list, &context, &policy, &listener);
    let end = async {
        let hook = loop {
            if let Some(hook) = runner.running().pop() {
                break hook;
            }
            tokio::task::yield_now().await;
        };
        assert!(hook.command.starts_with("echo waiting"), "{hook:?}");
        assert!(hook.about.contains("recovery"), "{hook:?}");
        assert!(runner.end(hook.id + 1).is_none());
        assert_eq!(runner.end(hook.id).map(|it| it.id), Some(hook.id));
    };
    let (report, ()) = tokio::join!(run, end);
    assert!(matches!(report.outcomes[0].result, Err(HookFailure::Ended)), "{report:?}");
    assert!(report.aborted, "it counts as one that failed");
    assert!(runner.running().is_empty());
}

#[tokio::test]
async fn a_hook_may_clean_up_when_its_time_is_up() {
    let list = HookList::PostFailover;
    let tidy = "trap 'echo tidied; exit 1' TERM; sleep 1000 & wait";
    let policy = HookPolicy { timeout: SHORT, ..policy(list, &[tidy]) };
    let report = run_as(&policy, list, &context()).await;
    assert_eq!(report.outcomes[0].output, "tidied\n");
}

#[tokio::test]
async fn a_hook_whose_runner_goes_away_is_killed() {
    let folder = TempDir::new().unwrap();
    let fifo = folder.path().join("fifo");
    run(&[&format!("mkfifo {}", fifo.display())], &context()).await;
    let hangs = format!("sleep 1000 & echo $! > {}; wait", fifo.display());
    let hook = tokio::spawn(async move { run(&[&hangs], &context()).await });
    let pid = tokio::task::spawn_blocking(move || fs::read_to_string(fifo).unwrap()).await.unwrap();
    assert!(lives(&pid));
    hook.abort();
    let _ = hook.await;
    tokio::time::timeout(Duration::from_secs(10), async {
        while lives(&pid) {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_hook_in_the_background_holds_up_nobody_and_is_reported() {
    let folder = TempDir::new().unwrap();
    let fifo = folder.path().join("fifo");
    let waits = format!("read x < {}; echo got $x; exit 3 &", fifo.display());
    let (listener, mut heard) = ears();
    let list = HookList::PreFailover;
    let policy = policy(list, &[&format!("mkfifo {}", fifo.display()), &waits, "echo c"]);
    let report = HookRunner::of_process().run_list(list, &context(), &policy, &listener).await;
    assert_eq!(report.outcomes.len(), 2, "the one in the background is not waited for");
    assert!(!report.aborted, "and objects to nothing");
    fs::write(&fifo, "hello\n").unwrap();
    let over = async {
        loop {
            let line = heard.recv().await.unwrap();
            if line.contains("hook 2 of 3 (in the background) failed") {
                return line;
            }
        }
    };
    let line = tokio::time::timeout(Duration::from_secs(30), over).await.unwrap();
    assert!(line.ends_with("exit status 3; output: got hello"), "{line}");
}

#[tokio::test]
async fn what_a_hook_leaves_running_holds_up_nobody() {
    let said = output("sleep 1000 & echo $!; disown", &context()).await;
    assert!(lives(&said), "it has not been killed either");
    run(&[&format!("kill {said}")], &context()).await;
}

#[tokio::test]
async fn of_too_much_output_the_end_is_kept() {
    let said = output("head -c 5000000 /dev/zero | tr '\\0' x; echo; echo end", &context()).await;
    assert!(said.ends_with("x\nend\n") && said.starts_with('('), "{}", &said[..40]);
    assert!(said.len() < 20_000);
}

#[tokio::test]
async fn the_facts_are_on_standard_input() {
    let said = output("cat", &context()).await;
    let json: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(json["failure_type"], "DeadMaster");
    assert_eq!(json["failed"], "db1:3306");
    assert_eq!(json["replicas"], serde_json::json!(["db2:3306", "db3:3306"]));
    assert_eq!(json["successor"], serde_json::Value::Null);
}

#[tokio::test]
async fn more_facts_than_a_variable_holds_keep_no_hook_from_running() {
    let replicas: Vec<_> = (0..20_000).map(|n| key(&format!("replica{n}"))).collect();
    let count = replicas.len();
    let length = replicas.iter().map(|key| key.to_string().len() + 1).sum::<usize>() - 1;
    let context = HookContext::Recovery(Box::new(RecoveryFacts {
        replicas,
        replica_count: count,
        ..facts()
    }));
    let said = output("echo {countReplicas} ${ORC_REPLICA_HOSTS-none}", &context).await;
    assert_eq!(said, "20000 none\n", "and nobody read the input");
    let said = output("x={replicaHosts}; echo ${#x} ${x:0:13}", &context).await;
    assert_eq!(said, format!("{length} replica0:3306\n"));
}

#[tokio::test]
async fn hooks_inherit_the_environment_without_secrets() {
    let variable = |name: &str| (OsString::from(name), OsString::from("1"));
    let path = (OsString::from("PATH"), std::env::var_os("PATH").unwrap());
    let inherited = [
        path,
        variable("MINE"),
        variable("BATON_INSTANCE_POLL_SECONDS"),
        variable("BATON_MYSQLTOPOLOGYPASSWORD"),
        variable("BATON_http_auth_pass_word"),
        variable("BATON_ConsulAclToken"),
        variable("BATON_RAFT_SECRET"),
        variable("ORC_FAILED_HOST"),
        (OsString::from("MINE_DSN"), OsString::from("mysql://orc:correct-horse@db1")),
        (OsString::from("MINE_PW"), OsString::from("pw")),
        (OsString::from("MINE_SETTINGS"), OsString::from("user=orc;password=pw")),
        (OsString::from("MINE_SHELL"), OsString::from("/usr/pw/pwsh")),
        (OsString::from("HOME"), OsString::from("correct-horse")),
    ];
    let list = HookList::PostFailover;
    let policy = policy(list, &["env | grep -E 'MINE|BATON|FAILED|ORC_IS_MASTER' | sort"]);
    let (listener, _heard) = ears();
    let runner = HookRunner::new(inherited).without(&["correct-horse", "pw", ""]);
    let report = runner.run_list(list, &context(), &policy, &listener).await;
    assert_eq!(
        report.outcomes[0].output,
        "BATON_INSTANCE_POLL_SECONDS=1\nMINE=1\nMINE_SHELL=/usr/pw/pwsh\nORC_FAILED_HOST=db1\nORC_FAILED_PORT=3306\n\
         ORC_IS_MASTER=true\n"
    );
}

#[tokio::test]
async fn a_hook_that_cannot_run_is_reported() {
    let list = HookList::PreFailover;
    let nowhere = HookPolicy { shell: "/no/such/shell".into(), ..policy(list, &["true"]) };
    let report = run_as(&nowhere, list, &context()).await;
    let line = report.outcomes[0].to_string();
    assert!(line.contains("cannot start /no/such/shell: No such file"), "{line}");
    assert!(report.aborted);
    let report = run_as(&policy(list, &["kill -9 $$"]), list, &context()).await;
    assert!(matches!(report.outcomes[0].result, Err(HookFailure::Signal(9))));
}

#[tokio::test]
async fn a_hook_is_a_file_that_is_gone_afterwards() {
    let script = output("test -r $0 && printf %s $0", &context()).await;
    assert!(script.contains("baton-hook-") && !Path::new(&script).exists(), "{script}");
}

#[tokio::test]
async fn who_took_whose_place_is_told_by_arguments() {
    let context = HookContext::TakePrimary { successor: key("db2"), demoted: key("db1") };
    let said = output("echo $1 $2 $# $ORC_SUCCESSOR_HOST $ORC_FAILED_HOST; cat", &context).await;
    assert_eq!(
        said,
        "db2:3306 db1:3306 2 db2:3306 db1:3306\n{\"successor\":\"db2:3306\",\"demoted\":\"db1:3306\"}"
    );
}

#[tokio::test]
async fn hooks_beyond_the_limit_wait_not_longer_than_their_deadline() {
    let list = HookList::PostFailover;
    let commands = vec!["sleep 1000 &"; HOOKS_MAX + 1];
    let policy = HookPolicy { timeout: Duration::from_secs(2), ..policy(list, &commands) };
    let (listener, mut heard) = ears();
    HookRunner::of_process().run_list(list, &context(), &policy, &listener).await;
    let mut failed = Vec::new();
    while failed.len() < commands.len() {
        let line = heard.recv().await.unwrap();
        failed.extend(line.contains(" failed after ").then_some(line));
    }
    let crowded = failed.iter().filter(|line| line.contains("others were running")).count();
    assert_eq!(crowded, 1, "{failed:?}");
    assert_eq!(failed.iter().filter(|line| line.contains("still running")).count(), HOOKS_MAX);
}

#[tokio::test]
async fn many_that_are_told_of_failures_keep_none_from_what_follows_a_recovery() {
    let detections = vec!["sleep 1000 &"; HOOKS_MAX];
    let [detected, after] = [HookList::FailureDetection, HookList::PostFailover];
    let within = |policy: HookPolicy, seconds| HookPolicy {
        timeout: Duration::from_secs(seconds),
        detection_timeout: Duration::from_secs(seconds),
        ..policy
    };
    let runner = HookRunner::of_process();
    let (listener, mut heard) = ears();
    let policies = (within(policy(detected, &detections), 60), policy(after, &["echo fine"]));
    runner.run_list(detected, &context(), &policies.0, &listener).await;
    let mut started = 0;
    while started < HOOKS_MAX {
        started += usize::from(heard.recv().await.unwrap().starts_with("Running"));
    }
    let report = runner.run_list(after, &context(), &within(policies.1, 30), &listener).await;
    assert!(report.first_failure().is_none(), "{:?}", lines(&mut heard));
}

#[tokio::test]
async fn hooks_have_the_usual_limit_on_open_files() {
    let list = HookList::PostFailover;
    // The limit is set right after the start.
    let policy = policy(
        list,
        &["for i in $(seq 100); do [ $(ulimit -Sn) = 123 ] && break; \
                                 sleep 0.05; done; ulimit -Sn; ulimit -Sn 200 && ulimit -Sn"],
    );
    let (listener, _heard) = ears();
    let runner = HookRunner::of_process().with_descriptors(Some(123));
    let report = runner.run_list(list, &context(), &policy, &listener).await;
    assert_eq!(report.outcomes[0].output, "123\n200\n");
}
