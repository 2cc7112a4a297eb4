//! The HTTP face of the program, without any server to watch.

mod support;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use support::Baton;

const BATON: &str = env!("CARGO_BIN_EXE_baton");

fn start(settings: &[(&str, &str)]) -> Baton {
    Baton::start(BATON, Vec::new(), settings)
}

fn status_line(head: &str) -> &str {
    head.lines().next().unwrap_or_default()
}

fn has(head: &str, name: &str, value: &str) -> bool {
    let wanted = format!("{name}: {value}");
    head.lines().any(|line| line.eq_ignore_ascii_case(&wanted))
}

#[test]
fn answers_have_the_form_that_programs_know() {
    let baton = start(&[]);
    let get = |path: &str| baton.exchange("GET", path, "").expect("an answer");
    let (head, body) = get("/api/clusters");
    assert_eq!((status_line(&head), body.as_str()), ("HTTP/1.1 200 OK", "null"));
    assert!(has(&head, "content-type", "application/json; charset=UTF-8"), "{head}");
    let (head, body) = get("/api/nosuchroute");
    assert_eq!(status_line(&head), "HTTP/1.1 404 Not Found");
    assert_eq!(body, "404 page not found\n");
    for (path, expected) in [
        ("/api/clusters-info", "[]"),
        ("/api/clusters-info/", "[]"),
        ("/api/masters", "null"),
        ("/api/problems", "null"),
        ("/api/downtimed/", "[]"),
        ("/api/lb-check", "\"OK\""),
        ("/api/leader-check/503", "\"OK\""),
        ("/api/audit-recovery", "[]"),
        (
            "/api/check-global-recoveries",
            r#"{"Code":"OK","Message":"Global recoveries enabled","Details":"enabled"}"#,
        ),
        (
            "/api/raft-state",
            r#"{"Code":"ERROR","Message":"raft-state: not running with raft setup","Details":null}"#,
        ),
        (
            "/api/instance/h/1",
            r#"{"Code":"ERROR","Message":"Cannot read instance: h:1","Details":null}"#,
        ),
        ("/api/discover/h/abc", r#"{"Code":"ERROR","Message":"Invalid port: abc","Details":null}"#),
        (
            "/api/register-candidate/h/1/must",
            r#"{"Code":"ERROR","Message":"CandidatePromotionRule: must not supported yet","Details":null}"#,
        ),
        (
            "/api/tag/h/1?tag=role%3Dbackup",
            r#"{"Code":"OK","Message":"h:1 tagged with role=backup","Details":{"Hostname":"h","Port":1}}"#,
        ),
        ("/api/tag-value/h/1/role", "\"backup\""),
        ("/api/tagged?tag=role", r#"[{"Hostname":"h","Port":1}]"#),
        (
            "/api/untag-all?tag=role%3Dbackup",
            r#"{"Code":"OK","Message":"role removed from 1 instances","Details":[{"Hostname":"h","Port":1}]}"#,
        ),
    ] {
        assert_eq!(get(path).1, expected, "{path}");
    }
    let (head, body) = baton.exchange("HEAD", "/api/clusters", "").expect("an answer");
    assert_eq!((status_line(&head), body.as_str()), ("HTTP/1.1 200 OK", ""));
    let (head, _) = baton.exchange("HEAD", "/api", "").expect("an answer");
    assert!(!head.contains("401 Unauthorized"), "the old client looks for these words");
}

#[test]
fn writes_take_post_and_no_orders_from_other_sites() {
    let baton = start(&[]);
    let write = "/api/tag/h/1?tag=a";
    let send = |method: &str, path: &str, headers: &str| {
        baton.request(method, path, headers).expect("an answer").0
    };
    assert_eq!(send("POST", write, ""), 200);
    assert_eq!(send("POST", "/api/clusters", ""), 200, "it reads");
    assert_eq!(send("DELETE", write, ""), 405);
    assert_eq!(send("GET", write, "Sec-Fetch-Site: cross-site\r\n"), 403);
    assert_eq!(send("POST", write, "Origin: http://evil.example\r\n"), 403);
    assert_eq!(send("GET", "/api/clusters", "Sec-Fetch-Site: cross-site\r\n"), 200);
}

#[test]
fn who_does_not_know_the_password_stays_outside() {
    let settings = [
        ("BATON_AUTHENTICATIONMETHOD", "multi"),
        ("BATON_HTTPAUTHUSER", "ann"),
        ("BATON_HTTPAUTHPASSWORD", "s3cret"),
        ("BATON_URLPREFIX", "/ops"),
        ("BATON_STATUSENDPOINT", "/my/status"),
    ];
    let baton = start(&settings);
    let (head, _) = baton.exchange("HEAD", "/ops/api", "").expect("an answer");
    assert_eq!(status_line(&head), "HTTP/1.1 401 Unauthorized");
    assert!(has(&head, "www-authenticate", "Basic realm=\"baton\""), "{head}");
    let ann = "Authorization: Basic YW5uOnMzY3JldA==\r\n";
    let reader = "Authorization: Basic cmVhZG9ubHk6eA==\r\n";
    let send = |path: &str, headers: &str| baton.request("GET", path, headers).expect("an answer");
    assert_eq!(send("/ops/api/clusters", "").0, 401);
    assert_eq!(send("/ops/api/clusters", ann).0, 200);
    assert_eq!(send("/ops/api/clusters", reader).0, 200);
    assert_eq!(send("/ops/metrics", "").0, 401);
    assert_eq!(send("/my/status", reader).0, 200);
    assert_eq!(send("/api/clusters", ann).0, 404, "everything is below the prefix");
    assert_eq!(send("/nothing", "").0, 401, "what there is is nobody's business");
    let denied = send("/ops/api/tag/h/1?tag=a", reader);
    assert_eq!(denied, (500, r#"{"Code":"ERROR","Message":"Unauthorized","Details":null}"#.into()));
    assert_eq!(send("/ops/api/tag/h/1?tag=a", ann).0, 200);
}

#[test]
fn the_dashboard_is_for_whoever_may_read() {
    let settings = [
        ("BATON_AUTHENTICATIONMETHOD", "multi"),
        ("BATON_HTTPAUTHUSER", "ann"),
        ("BATON_HTTPAUTHPASSWORD", "s3cret"),
        ("BATON_URLPREFIX", "/ops"),
    ];
    let baton = start(&settings);
    let reader = "Authorization: Basic cmVhZG9ubHk6eA==\r\n";
    let get = |path: &str, headers: &str| baton.exchange("GET", path, headers).expect("an answer");
    for path in ["/ops/", "/ops/ui/", "/ops/web/clusters", "/ops/api/events", "/ops/ui/-/x/app.js"]
    {
        assert_eq!(status_line(&get(path, "").0), "HTTP/1.1 401 Unauthorized", "{path}");
    }
    let (head, _) = get("/ops/web/cluster/alias/a%2Fb", reader);
    assert!(has(&head, "location", "/ops/ui/cluster/a%2Fb"), "{head}");
    let (head, _) = get("/ops/", &format!("{reader}Accept: text/html,*/*\r\n"));
    assert!(has(&head, "location", "/ops/ui/"), "{head}");
    let (head, page) = get("/ops/ui/cluster/x", reader);
    assert!(head.to_ascii_lowercase().contains("content-security-policy: default-src 'none';"));
    let script = page.split('"').find(|it| it.ends_with("/app.js")).expect("it runs something");
    let (head, _) = get(script, reader);
    assert!(has(&head, "cache-control", "public, max-age=31536000, immutable"), "{head}");
    let session = get("/ops/api/session", reader).1;
    assert!(session.contains(r#""User":"readonly","MayWrite":false"#), "{session}");
    let (head, _) = baton.exchange("HEAD", "/ops/api/events", reader).expect("an answer");
    assert!(has(&head, "content-type", "text/event-stream"), "{head}");
}

#[test]
fn figures_are_complete_and_in_order() {
    let baton = start(&[]);
    baton.get("/api/clusters");
    let (head, text) = baton.exchange("GET", "/metrics", "").expect("an answer");
    assert_eq!(status_line(&head), "HTTP/1.1 200 OK");
    assert!(text.ends_with("# EOF\n"), "it says where it ends");
    let mut described = std::collections::BTreeSet::new();
    for line in text.lines().filter(|line| *line != "# EOF") {
        if let Some(described_here) = line.strip_prefix("# TYPE ") {
            let name = described_here.split(' ').next().unwrap_or_default();
            assert!(described.insert(name.to_owned()), "{name} is described twice");
        } else if !line.starts_with('#') {
            let name = line.split(['{', ' ']).next().unwrap_or_default();
            let family = ["_total", "_bucket", "_sum", "_count"]
                .iter()
                .find_map(|suffix| name.strip_suffix(suffix));
            let known = described.contains(name) || family.is_some_and(|it| described.contains(it));
            assert!(known, "{name} is not described");
            let value = line.rsplit(' ').next().unwrap_or_default();
            assert!(value.parse::<f64>().is_ok(), "{line}");
        }
    }
    for wanted in [
        "baton_actor_alive{actor=\"analysis\"} 1",
        "baton_instances 0",
        "baton_analysis_findings{code=\"DeadMaster\"} 0",
        "baton_snapshot_age_seconds ",
        "baton_http_requests_total{route=\"clusters\",method=\"GET\",status=\"2xx\"} 1",
    ] {
        assert!(text.contains(wanted), "{wanted} is missing:\n{text}");
    }
    assert_eq!(baton.exchange("GET", "/health/ready", "").expect("an answer").1, "ready\n");
}

#[test]
fn no_request_makes_it_stumble() {
    let baton = start(&[]);
    let segment = prop_oneof![
        "[a-z-]{1,12}",
        "%[0-9a-fA-F]{2}",
        "[!-~&&[^#?]]{0,40}",
        Just("instance".to_owned()),
        Just("begin-downtime".to_owned()),
        Just("search".to_owned()),
        "[0-9]{1,25}",
    ];
    let query = prop_oneof![
        Just(String::new()),
        "[?][!-~&&[^#]]{0,60}",
        "[?](tag|s|instances)=[!-~&&[^#]]{0,40}"
    ];
    let paths = (prop::collection::vec(segment, 0..7), query);
    let mut runner =
        TestRunner::new(Config { cases: 400, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&paths, |(segments, query)| {
        let path = format!("/api/{}{query}", segments.join("/"));
        let (status, body) = baton.request("GET", &path, "").expect("an answer to anything");
        let is_wrapped = body.starts_with("{\"Code\":\"ERROR\"");
        prop_assert!(
            matches!(status, 200 | 400 | 404) || (status == 500 && is_wrapped),
            "{path}: {status} {body}"
        );
        Ok(())
    });
    outcome.expect("every request is answered in form");
    assert_eq!(baton.get("/api/lb-check"), "OK");
    assert!(!baton.log().contains("panicked"), "{}", baton.log());
}
