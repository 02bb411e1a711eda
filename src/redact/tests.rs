use serde_json::{Map, Value};

use super::*;

/// Texts with one secret each, written as `{}`, and secrets to put there.
const WITH_SECRETS: &[(&str, &[&str])] = &[
    (
        "request failed: {}",
        &[
            "sk-ant-api03-AbCdEf0123456789AbCdEf0123456789-xYz",
            "sk-proj-0123456789abcdefghijABCDEFGHIJ0123456789",
            "ghp_0123456789abcdefghijABCDEFGHIJ012345",
            "github_pat_11ABCDEFG0abcdefghijkl_0123456789abcdef",
            "glpat-0123456789abcdefghij",
            "xoxb-123456789012-abcdefABCDEF",
            "AKIAIOSFODNN7EXAMPLE",
            "AIzaSyA0123456789abcdefghijklmnopqrstuv",
            "npm_0123456789abcdefghijABCDEFGHIJ012345",
            "hf_0123456789abcdefghijABCDEFGHIJ0123",
            "sk_live_0123456789abcdefghijABCD",
            "SG.0123456789abcdefghij.0123456789abcdefghijABCDEFGHIJ0123456789abc",
            "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N",
            "1234567890:AAabcdefghijABCDEFGHIJ0123456789-_x",
            "hvs.CAESIJ0123456789abcdefghij",
            "ya29.a0AfH6SMB0123456789abcdefghij",
            "whsec_0123456789abcdefghijABCD",
            "gsk_0123456789abcdefghijABCDEFGHIJ0123456789abcdefgh",
            "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\n-----END RSA PRIVATE KEY-----",
            "-----BEGIN OPENSSH PRIVATE KEY-----\\nb3BlbnNz\\n-----END OPENSSH PRIVATE KEY-----",
            "-----BEGIN PGP PRIVATE KEY BLOCK-----\nlQOY",
        ],
    ),
    ("Authorization: Bearer {}", &["abcdefabcdef", "0123-4567", "x"]),
    ("authorization: Basic {}", &["dXNlcjpwYXNz", "Zm9v"]),
    ("{\"headers\":{\"authorization\":\"Bearer {}\",\"accept\":\"*/*\"}}", &["plainletters"]),
    ("-H 'Authorization: token {}' https://api.github.com", &["0123456789abcdef"]),
    ("Cookie: {}", &["session=abc; theme=dark"]),
    ("x-api-key: {}", &["plainletters", "0123"]),
    ("sent bearer {} to the server", &["0123456789abcdef", "AbCdEfGhIjKlMnOpQrStUvWx"]),
    ("connect to postgres://app:{}@db.internal:5432/agents failed", &["hunter2", "p%40ss", "a:b"]),
    ("clone https://{}@github.com/a/b.git", &["0123456789abcdefghij0123456789abcdefghij"]),
    ("redis://:{}@127.0.0.1:6379", &["swordfish"]),
    ("GET https://api.example.com/v1?api_key={}&q=x 401", &["swordfish", "0123456789"]),
    ("GET https://store.example.com/x?sig={}&se=2026", &["0123456789abcdefABCDEF"]),
    ("POST https://hooks.slack.com/services/{}", &["T00000000/B00000000/abcdefghijABCDEFGHIJ0123"]),
    ("password={}", &["hunter2", "swordfish", "correct-horse", "1234"]),
    ("DB_PASSWORD={} node agent.js", &["hunter2", "swordfish"]),
    ("export AWS_SECRET_ACCESS_KEY={}", &["wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"]),
    ("OPENAI_API_KEY=\"{}\"", &["plain letters", "0123"]),
    ("client_secret: {}", &["0123456789abcdef", "swordfish"]),
    ("  passphrase: {}\n  name: x", &["swordfish"]),
    ("options { password: '{}', user: 'a' }", &["hunter2", "a b c"]),
    ("options { \"refreshToken\": \"{}\" }", &["plainletters", "0123-4567"]),
    ("body {\\\"password\\\":\\\"{}\\\",\\\"user\\\":\\\"a\\\"}", &["hunter2", "swordfish"]),
    ("run: deploy --token {} --force", &["0123456789abcdef"]),
    ("run: mysql --password {} -u root", &["hunter2", "swordfish"]),
    ("run: deploy --api-key={}", &["swordfish"]),
    ("the token = {} is stale", &["0123456789abcdef"]),
    ("credentials => {}", &["0123456789abcdef"]),
    ("wrong password: {}", &["hunter2"]),
];

/// Texts in which there is none.
const CLEAN: &[&str] = &[
    "",
    "SyntaxError: Unexpected token } in JSON at position 17",
    "SyntaxError: Unexpected token: EOF",
    "Unexpected token '<', \"<!DOCTYPE \"... is not valid JSON",
    "Invalid token: expected string, got number",
    "used 1200 tokens: input_tokens=1000 output_tokens=200 max_tokens: 4096",
    "{\"usage\":{\"input_tokens\":1000,\"cache_read_input_tokens\":0},\"max_tokens\":4096}",
    "KeyError: 'token'",
    "Duplicate key: 15",
    "primary key = 12, foreign key: orders.id",
    "sorted(items, key=lambda item: item.name)",
    "max(counts, key=counts.get)",
    "  password = getpass.getpass()",
    "  token = os.environ[\"TOKEN\"]",
    "    client = Client(api_key=settings.api_key)",
    "password=$PASSWORD and token=${TOKEN}",
    "Invalid password: must be at least eight characters",
    "missing required field password: string",
    "password: null, secret: undefined, apiKey: ''",
    "Basic authentication failed for user ada",
    "Bearer token expired; use another bearer token",
    "the secret ingredient is love",
    "the secretary's keyboard has no keys",
    "author: Ada, authority: none",
    "https://example.com/a:b@c and mailto:ada@example.com",
    "http://127.0.0.1:3000/api/agents?limit=5&key=name",
    "git@github.com:ada/monkey.git",
    "std::token::Token::new == key::Key",
    "sk-learn is a library, hf_hub another, npm_config_cache a setting",
    "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
    "PWD=/home/ada TOKENIZERS_PARALLELISM=false",
    "commit 0123456789abcdef0123456789abcdef01234567",
    "[redacted] password=[redacted]",
];

#[test]
fn secrets_are_found() {
    let mut missed = Vec::new();
    let mut count = 0;
    for (text, secrets) in WITH_SECRETS {
        for secret in *secrets {
            count += 1;
            let found = super::text(&text.replacen("{}", secret, 1)).into_owned();
            if found != text.replacen("{}", REDACTED, 1) {
                missed.push(found);
            }
        }
    }
    assert!(count >= 60, "{count}");
    assert_eq!(missed, [] as [&str; 0]);
}

#[test]
fn everything_else_is_left() {
    for text in CLEAN {
        assert_eq!(super::text(text), *text);
    }
    for set in [include_str!("../../tests/fingerprint/first.json"), include_str!("../../tests/fingerprint/second.json")]
    {
        let traces: Vec<Map<String, Value>> = serde_json::from_str(set).unwrap();
        for text in traces.iter().flat_map(Map::values).filter_map(Value::as_str) {
            assert!(matches!(super::text(text), Cow::Borrowed(_)), "{}", super::text(text));
        }
    }
}

/// A second pass finds nothing: what is stored and told again is the same.
#[test]
fn redacting_again_changes_nothing() {
    for (text, secrets) in WITH_SECRETS {
        for secret in *secrets {
            let once = super::text(&text.replacen("{}", secret, 1)).into_owned();
            assert_eq!(super::text(&once), once);
        }
    }
}

#[test]
fn objects_at_every_depth() {
    let given = r#"{"a":[{"apiKey":"x","note":"use password=hunter2 now"}],"token":{"b":1},"tokens":7,"n":null}"#;
    let mut map: Map<String, Value> = serde_json::from_str(given).unwrap();
    object(&mut map);
    let expected = r#"{"a":[{"apiKey":"[redacted]","note":"use password=[redacted] now"}],"n":null,"token":"[redacted]","tokens":7}"#;
    assert_eq!(Value::from(map).to_string(), expected);
}

/// Nothing in a hostile text takes time that grows faster than it does: each of these fills a body.
#[test]
fn hostile_texts_end_soon() {
    let long = 64 << 10;
    for piece in [
        "password=\"",
        "://a:",
        "-----BEGIN PRIVATE KEY-----",
        "-----BEGIN ",
        "token=\\\"",
        "eyJ.",
        "Bearer ",
        "key:",
        "--key ",
        "é=",
        "sk-",
    ] {
        let text = piece.repeat(long / piece.len());
        let clean = super::text(&text);
        assert!(clean.len() <= 2 * text.len(), "{piece}");
    }
}
