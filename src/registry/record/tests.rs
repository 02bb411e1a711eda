use super::super::{LIMIT_RECORDS, metadata};
use super::*;

const BOOT: &str = "0f3e5a9c-8d21-4f0e-9b1a-3c5d7e9f1a2b";

/// One line of what a reading says of each record: id, pid, status.
fn lines(reading: &SourceReading) -> Vec<String> {
    let line = |record: &Arc<Record>| {
        let pid = record.pid.map_or("-".to_owned(), |pid| pid.to_string());
        format!("{} {pid} {}", record.id, record.status.as_deref().unwrap_or("-"))
    };
    reading.records.iter().map(line).collect()
}

fn only(json: &str) -> Record {
    let reading = parse(json.as_bytes()).unwrap_or_else(|error| panic!("{json}: {error}"));
    assert_eq!((reading.records.len(), &*reading.skipped), (1, &[][..]), "{json}");
    Record::clone(&reading.records[0])
}

/// Registries as they are found in the wild, and what is made of them.
const WILD: &[(&str, &str, &[&str])] = &[
    (
        "the broker's list",
        r#"[{"agentId":"planner","status":"online","metadata":{"pid":4711}},{"agentId":"coder","status":"offline"}]"#,
        &["planner 4711 online", "coder - offline"],
    ),
    (
        "Claude Code, sessions/<pid>.json",
        r#"{"pid":812,"sessionId":"5a1","cwd":"/src","startedAt":1767225600123,"procStart":"90210","kind":"interactive",
            "entrypoint":"cli","status":"waiting","waitingFor":"permission","updatedAt":1767225700123}"#,
        &["5a1 812 waiting"],
    ),
    (
        "claude agents --json",
        r#"[{"id":"a1","sessionId":"s1","name":"fix","pid":9,"status":"busy","state":"working","startedAt":1767225600123},
            {"id":"a2","sessionId":"s2","name":"old","state":"done","startedAt":1767225600123}]"#,
        &["a1 9 busy", "a2 - done"],
    ),
    (
        "Claude Code, daemon/roster.json",
        r#"{"supervisorPid":77,"updatedAt":1767225600123,"workers":{"x7":{"pid":78,"startedAt":1767225600123}}}"#,
        &["x7 78 online"],
    ),
    (
        "Qwen Code, sessions/<pid>.json",
        r#"{"schemaVersion":1,"sessionId":"q1","pid":55,"procStart":"0f3e5a9c-8d21-4f0e-9b1a-3c5d7e9f1a2b:12345",
            "pidNs":"4026531836","startedAt":1767225600123}"#,
        &["q1 55 online"],
    ),
    (
        "Agent Relay, GET /api/spawned",
        r#"{"agents":[{"name":"Lead","pid":31,"workerPid":30,"parent":null,"current_state":"idle",
            "last_activity_at":"2026-01-01T00:00:00Z","last_activity_ms":12}]}"#,
        &["Lead 31 idle"],
    ),
    (
        "Agent Relay, state file",
        r#"{"agents":{"Lead":{"pid":31,"started_at":1767225600},"Scout":{"started_at":1767225600}}}"#,
        &["Lead 31 online", "Scout - online"],
    ),
    (
        "elizaOS, GET /api/agents",
        r#"{"success":true,"data":{"agents":[{"id":"e1","name":"Eliza","status":"active"},{"id":"e2","status":"inactive"}]}}"#,
        &["e1 - active", "e2 - inactive"],
    ),
    (
        "AI Maestro",
        r#"{"data":[{"id":"m1","name":"maestro","claudeSessionId":"c1","status":"online","metadata":{"team":"x"},
            "createdAt":"2026-01-01T00:00:00Z"}]}"#,
        &["m1 - online"],
    ),
    (
        "Claw Town, agents/<name>.json",
        r#"{"name":"bob","pid":61,"alive":false,"last_heartbeat":"2026-01-01T00:00:00Z","missed_heartbeats":3}"#,
        &["bob 61 offline"],
    ),
    (
        ".active-pids.json",
        r#"{"a":{"agentId":"a","pid":3,"parentAgentId":null,"depth":0},"b":{"agentId":"b","pid":4,"parentAgentId":"a"}}"#,
        &["a 3 online", "b 4 online"],
    ),
    (
        "a broker with a counter",
        r#"{"agents":{"1":{"pid":21,"status":"running"},"2":{"pid":22,"status":"failed"}},"nextId":3}"#,
        &["1 21 running", "2 22 failed"],
    ),
    (
        "a broker with numbers for ids",
        r#"[{"id":7,"pid":"21","status":"busy","startTime":1767225600123}]"#,
        &["7 21 busy"],
    ),
    ("a map under data", r#"{"data":{"a":{"pid":2}}}"#, &["a 2 online"]),
    ("a list of workers", r#"{"workers":[{"id":"a","pid":2}]}"#, &["a 2 online"]),
    ("one record with data of its own", r#"{"id":"a","pid":2,"data":{"x":1}}"#, &["a 2 online"]),
    ("one record of data.agents", r#"{"name":"list","data":{"agents":{"a":{}}}}"#, &["a - online"]),
    ("a map with an agent called name", r#"{"name":{"pid":2}}"#, &["name 2 online"]),
    ("no agents", "[]", &[]),
    ("no agents", "{}", &[]),
    ("no agents", r#"{"agents":[]}"#, &[]),
    ("no agents", r#" {"success":true,"data":{"agents":{}}} "#, &[]),
];

#[test]
fn registries_in_the_wild() {
    for (what, json, expected) in WILD {
        let reading = parse(json.as_bytes()).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(lines(&reading), *expected, "{what}");
        assert!(reading.skipped.is_empty(), "{what}: {:?}", reading.skipped);
        let marked = [b"\xef\xbb\xbf", json.as_bytes()].concat();
        assert_eq!(parse(&marked).unwrap(), reading, "{what}, with a byte order mark");
    }
}

#[test]
fn a_half_written_registry_is_an_error_and_never_a_shorter_list() {
    for (what, json, _) in WILD {
        let json = json.trim().as_bytes();
        for end in 0..json.len() {
            let half = parse(&json[..end]);
            assert!(matches!(half, Err(InvalidDocument::Syntax { .. })), "{what} cut at {end}: {half:?}");
        }
    }
}

#[test]
fn pids() {
    for pid in ["1", "42", "\"42\"", "2147483647", "\"007\""] {
        for json in [
            format!(r#"{{"id":"a","metadata":{{"pid":{pid}}}}}"#),
            format!(r#"{{"id":"a","pid":{pid}}}"#),
            format!(r#"{{"id":"a","metadata":{{"processId":{pid}}}}}"#),
            format!(r#"{{"id":"a","processId":{pid}}}"#),
        ] {
            let expected = pid.trim_matches('"').parse().ok().and_then(Pid::new);
            assert_eq!(only(&json).pid, expected, "{json}");
        }
    }
    for none in [
        "0",
        "-1",
        "1.0",
        "1e3",
        "2147483648",
        "99999999999999999999",
        "\"\"",
        "\"-1\"",
        "\"+1\"",
        "\" 1\"",
        "\"1.5\"",
        r#""1/../self""#,
        "\"0x10\"",
        "\"١\"",
        "true",
        "[1]",
        r#"{"pid":1}"#,
    ] {
        let json = format!(r#"[{{"id":"a","pid":{none},"processId":7}},{{"id":"b","pid":8}}]"#);
        let reading = parse(json.as_bytes()).unwrap();
        assert_eq!(lines(&reading), ["a - online", "b 8 online"], "{json}");
        assert_eq!(*reading.skipped, [format!("record 1 (id \"a\"): its pid is no process id: {none}").into()]);
    }
    let order = r#"{"id":"a","metadata":{"pid":1,"processId":3},"pid":2,"processId":4}"#;
    let mut json = order.to_owned();
    for (number, expected) in [(1, 1), (2, 2), (3, 3), (4, 4)] {
        assert_eq!(only(&json).pid, Pid::new(expected), "{json}");
        json = json.replace(&format!("\":{number}"), "\":null");
    }
    assert_eq!(only(&json).pid, None);
}

#[test]
fn pid_namespaces() {
    let qwen = WILD.iter().find(|(what, ..)| what.starts_with("Qwen")).unwrap();
    assert_eq!(only(qwen.1).pid_namespace, Some(4_026_531_836));
    for (fields, expected) in [
        (r#""pidNs":4026532001"#, Some(4_026_532_001)),
        (r#""pid_ns":"4026532001""#, Some(4_026_532_001)),
        (r#""pidNs":"pid:[4026532001]""#, Some(4_026_532_001)),
        (r#""pidNs":null,"metadata":{"pid_ns":3}"#, Some(3)),
        (r#""pidNs":4,"metadata":{"pidNs":"3"}"#, Some(3)),
        (r#""x":0"#, None),
    ] {
        let record = only(&format!(r#"{{"id":"a","pid":7,{fields}}}"#));
        assert_eq!((record.pid, record.pid_namespace), (Pid::new(7), expected), "{fields}");
    }
    for odd in ["-1", "1.5", "true", "[]", "\"\"", "\"pid:[]\"", "\"mnt:[4026531840]\"", "\"99999999999999999999\""] {
        let reading = parse(format!(r#"[{{"id":"a","pid":7,"pidNs":{odd}}}]"#).as_bytes()).unwrap();
        assert_eq!(
            (reading.records[0].pid, reading.records[0].pid_namespace),
            (None, None),
            "{odd}: a stranger's here"
        );
        assert_eq!(*reading.skipped, [format!("record 1 (id \"a\"): its pidNs is no pid namespace: {odd}").into()]);
    }
}

#[test]
fn ids() {
    let mut json = r#"{"key":{"agentId":"1","agent_id":"2","id":"3","name":"4","sessionId":"5"}}"#.to_owned();
    for expected in ["1", "2", "3", "4", "5", "key"] {
        assert_eq!(only(&json).id.as_str(), expected, "{json}");
        json = json.replace(&format!("\"{expected}\""), "null");
    }
    for (record, reason) in [
        (r#"{"pid":1}"#, "record 2: it has no id: none of agentId, agent_id, id, name, sessionId"),
        (r#"{"id":""}"#, "record 2: an agent id must not be empty"),
        (r#"{"id":"a\nb"}"#, "record 2: an agent id must not have control characters"),
        (r#"{"id":1.5}"#, "record 2: its id is neither a text nor a whole number"),
        (r#"{"agentId":["x"],"id":"x"}"#, "record 2: its agentId is neither a text nor a whole number"),
        (r#"{"id":"x","id":"y"}"#, "record 2: duplicate field `id`"),
        (r#"{"id":"a"}"#, r#"record 2 (id "a"): the same id as record 1 (id "a"), which counts"#),
        ("17", "record 2: it is not an object"),
        ("null", "record 2: it is not an object"),
    ] {
        let json = format!(r#"[{{"id":"a","pid":5}},{record},{{"id":"z"}}]"#);
        let reading = parse(json.as_bytes()).unwrap();
        assert_eq!(lines(&reading), ["a 5 online", "z - online"], "{json}");
        assert_eq!(*reading.skipped, [reason.into()], "{json}");
    }
    let long = format!(r#"[{{"id":"{}"}},{{"id":"ok"}}]"#, "x".repeat(129));
    assert_eq!(
        &*parse(long.as_bytes()).unwrap().skipped[0],
        "record 1: an agent id has at most 128 bytes, this one has 129"
    );
    let twice = parse(br#"{"a":{"pid":1},"a":{"pid":2},"v":3}"#).unwrap();
    assert_eq!(lines(&twice), ["a 1 online"]);
    assert_eq!(
        *twice.skipped,
        [r#"record "a": the same id as record "a", which counts"#.into(), r#"record "v": it is not an object"#.into()]
    );
}

#[test]
fn words() {
    for (fields, status) in [
        (r#""status":"Busy","state":"x""#, "Busy"),
        (r#""state":" working ""#, "working"),
        (r#""current_state":"idle","alive":false"#, "idle"),
        (r#""alive":true"#, "online"),
        (r#""alive":false"#, "offline"),
        (r#""alive":"no""#, "online"),
        (r#""status":"","state":"done""#, "done"),
        (r#""status":7,"state":null"#, "online"),
        (r#""status":"a\u001b[2Jb""#, "a\u{fffd}[2Jb"),
    ] {
        assert_eq!(only(&format!(r#"{{"id":"a",{fields}}}"#)).status.as_deref(), Some(status), "{fields}");
    }
    let long = only(&format!(r#"{{"id":"a","status":"{0}","name":"{0}\n"}}"#, "é".repeat(100)));
    assert!(long.status.as_ref().unwrap().len() <= LIMIT_WORD_BYTES);
    assert_eq!(long.name, long.status);
    assert_eq!(only(r#"{"id":"a","name":"Ada\u202e\r\n"}"#).name.as_deref(), Some("Ada\u{fffd}"));
    assert_eq!(only(r#"{"id":"a","name":" "}"#).name, None);
}

#[test]
fn guards() {
    let ticks = |boot: Option<&str>, ticks| StartGuard {
        start_ticks: Some(ticks),
        boot: boot.map(Arc::from),
        ..StartGuard::default()
    };
    let at = |ms| StartGuard { started_at: Some(Timestamp::from_unix_ms(ms)), ..StartGuard::default() };
    let none = StartGuard::default();
    for (field, expected) in [
        (r#""procStart":90210"#.to_owned(), ticks(None, 90210)),
        (r#""proc_start":"90210""#.to_owned(), ticks(None, 90210)),
        (format!(r#""procStart":"{BOOT}:90210""#), ticks(Some(BOOT), 90210)),
        (r#""procStart":"Thu Jan  1 10:00:00 2026""#.to_owned(), none.clone()),
        (r#""procStart":"boot:90210""#.to_owned(), none.clone()),
        (r#""procStart":-1"#.to_owned(), none.clone()),
        (r#""procStart":1.5"#.to_owned(), none.clone()),
        (r#""procStart":null,"proc_start":3"#.to_owned(), ticks(None, 3)),
        (r#""startedAt":"2026-01-01T00:00:00.007Z""#.to_owned(), at(1_767_225_600_007)),
        (r#""started_at":1767225600"#.to_owned(), at(1_767_225_600_000)),
        (r#""started_at":1767225600.5"#.to_owned(), at(1_767_225_600_500)),
        (r#""startTime":1767225600007"#.to_owned(), at(1_767_225_600_007)),
        (r#""startTime":1e300"#.to_owned(), at(i64::MAX)),
        (r#""startTime":999999999"#.to_owned(), none.clone()),
        (r#""startTime":-1767225600007"#.to_owned(), none.clone()),
        (r#""startTime":"soon""#.to_owned(), none.clone()),
        (r#""startTime":"2026-01-0é00:00:00Z""#.to_owned(), none),
    ] {
        assert_eq!(only(&format!(r#"{{"id":"a",{field}}}"#)).guard, expected, "{field}");
    }
}

#[test]
fn messages() {
    for (fields, expected) in [
        (r#""messageCount":3"#, Some(3)),
        (r#""message_count":0,"metadata":{"messageCount":9}"#, Some(0)),
        (r#""metadata":{"messageCount":9}"#, Some(9)),
        (r#""metadata":{"message_count":9}"#, Some(9)),
        (r#""messageCount":-3"#, None),
        (r#""messageCount":9223372036854775807"#, Some(i64::MAX.unsigned_abs())),
        (r#""messageCount":9223372036854775808"#, None),
        (r#""messageCount":"3""#, None),
        (r#""pid":3"#, None),
    ] {
        assert_eq!(only(&format!(r#"{{"id":"a",{fields}}}"#)).message_count, expected, "{fields}");
    }
}

#[test]
fn what_was_understood_is_not_said_twice() {
    let record = only(
        r#"{"agentId":"a","sessionId":"s","pid":7,"status":"busy","state":"working","name":"Ada","procStart":"odd",
            "startedAt":1767225600,"messageCount":1,"role":"coder","apiKey":"hunter2","metadata":{"pid":8,"team":"x"}}"#,
    );
    assert_eq!(record.pid, Pid::new(8));
    let expected = r#"{"apiKey":"[redacted]","pid":8,"procStart":"odd","role":"coder","sessionId":"s","state":"working","team":"x"}"#;
    assert_eq!(record.metadata.as_str(), expected);
}

#[test]
fn too_much_metadata_costs_the_metadata_only() {
    let filler = "x".repeat(metadata::LIMIT_BYTES);
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    for (value, reason) in [
        (format!("\"{filler}\""), "16400 bytes, at most 16384"),
        (format!("\"{filler}{filler}{filler}{filler}\""), "a record of 65585 bytes, at most 65536"),
        (deep, "recursion limit exceeded"),
    ] {
        let json = format!(r#"[{{"id":"a","metadata":{{"a":{value},"pid":7}},"name":"A"}}]"#);
        let reading = parse(json.as_bytes()).unwrap();
        assert_eq!(lines(&reading), ["a 7 online"]);
        assert_eq!(reading.records[0].metadata, JsonObject::default());
        let note = &*reading.skipped[0];
        assert!(note.starts_with("record 1 (id \"a\"): its metadata is left out: "), "{note}");
        assert!(note.ends_with(reason), "{note}");
    }
}

#[test]
fn broken_documents_say_where() {
    let deep = "[".repeat(10_000);
    for (bytes, message) in [
        (&b""[..], "line 1, column 1: it is empty"),
        (b" \n ", "line 2, column 1: it is empty"),
        (b"[\n  {\"id\": \"a\",}\n]", "line 2, column 14: key must be a string"),
        (b"[{\"id\": \"a\"}] []", "line 1, column 15: trailing characters"),
        (b"[{\"id\": \"a\"}", "line 1, column 12: EOF while parsing a list"),
        (b"\"hunter2\"", "line 1, column 9: invalid type: a text, expected a list or an object of records"),
        (b"17", "line 1, column 2: invalid type: integer `17`, expected a list or an object of records"),
        (b"null", "line 1, column 4: invalid type: null, expected a list or an object of records"),
        (b"[\n{\"id\": \"\xff\"}]", "line 2, column 9: not UTF-8"),
        (b"\xff\xfe[\0]\0", "line 1, column 1: not UTF-8"),
        (b"[\0]", "line 1, column 2: expected value"),
        (b"{\"data\":\n {\"\\ud800\": {}}}", "line 2, column 10: unexpected end of hex escape"),
        (deep.as_bytes(), "line 1, column 10000: EOF while parsing a list"),
        (b"[1, 2]", "none of its 2 records can be used, the first: record 1: it is not an object"),
        (
            b"{\"error\": \"hunter2\"}",
            "none of its 1 records can be used, the first: record \"error\": it is not an object",
        ),
    ] {
        let error = parse(bytes).expect_err(&String::from_utf8_lossy(bytes));
        assert_eq!(error.to_string(), message);
    }
    let nested = format!("{deep}{}", "]".repeat(10_000));
    assert!(matches!(parse(nested.as_bytes()), Err(InvalidDocument::NothingUsable { count: 1, .. })));
}

#[test]
fn at_most_20_000_records() {
    let list = |count: usize| {
        let records: Vec<String> = (0..count).map(|n| format!(r#"{{"id":{n}}}"#)).collect();
        format!("[{}]", records.join(","))
    };
    let map = |count: usize| {
        let records: Vec<String> = (0..count).map(|n| format!(r#""{n}":{{}}"#)).collect();
        format!("{{\"agents\":{{{}}}}}", records.join(","))
    };
    for make in [&list as &dyn Fn(usize) -> String, &map] {
        assert_eq!(parse(make(LIMIT_RECORDS).as_bytes()).unwrap().records.len(), LIMIT_RECORDS);
        let error = parse(make(LIMIT_RECORDS + 5).as_bytes()).unwrap_err();
        assert_eq!(error, InvalidDocument::TooManyRecords { count: LIMIT_RECORDS + 5 });
        let cut = make(LIMIT_RECORDS + 5).replace("}]", "");
        assert!(matches!(parse(cut.trim_end_matches('}').as_bytes()), Err(InvalidDocument::Syntax { .. })));
    }
}
