//! Secrets that are known by how they look, wherever they stand.

/// How such a secret begins, and the least that follows: letters, digits, `-` and `_`, with a digit among them.
const PREFIXES: [(&str, usize); 40] = [
    ("sk-", 20),      // OpenAI, Anthropic (sk-ant-), and those who imitate them
    ("sk_live_", 16), // Stripe
    ("sk_test_", 16),
    ("rk_live_", 16),
    ("rk_test_", 16),
    ("whsec_", 20),
    ("ghp_", 30), // GitHub
    ("gho_", 30),
    ("ghu_", 30),
    ("ghs_", 30),
    ("ghr_", 30),
    ("github_pat_", 22),
    ("glpat-", 16), // GitLab
    ("gldt-", 16),
    ("xoxb-", 10), // Slack
    ("xoxp-", 10),
    ("xoxa-", 10),
    ("xoxr-", 10),
    ("xoxs-", 10),
    ("xapp-", 10),
    ("AIza", 30), // Google
    ("GOCSPX-", 20),
    ("npm_", 30),
    ("pypi-AgE", 40),
    ("hf_", 30),  // Hugging Face
    ("gsk_", 40), // Groq
    ("xai-", 40),
    ("pplx-", 40),
    ("nvapi-", 40),
    ("r8_", 30),       // Replicate
    ("tvly-", 20),     // Tavily
    ("dop_v1_", 40),   // DigitalOcean
    ("dckr_pat_", 20), // Docker
    ("glsa_", 30),     // Grafana
    ("lin_api_", 30),  // Linear
    ("shpat_", 30),    // Shopify
    ("sntrys_", 30),   // Sentry
    ("sntryu_", 30),
    ("AGE-SECRET-KEY-1", 50),
    ("PMAK-", 40), // Postman
];

/// The same with points in it.
const POINTED: [(&str, usize); 3] = [("ya29.", 20), ("SG.", 40), ("hvs.", 20)];

/// What stands before a secret part of a URL.
const URLS: [&str; 3] = ["hooks.slack.com/services/", "discord.com/api/webhooks/", "discordapp.com/api/webhooks/"];

/// As much of a secret as is looked at to know it, bytes.
const JUDGED: usize = 256;

/// The length of the secret that `text` begins with, if it does. Only to be asked where a word begins.
pub(super) fn length(text: &str) -> Option<usize> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let pointed = |byte: u8| plain(byte) || byte == b'.';
    let known = |table: &[(&str, usize)], takes: &dyn Fn(u8) -> bool| {
        let (prefix, least) = table.iter().find(|(prefix, _)| text.starts_with(prefix))?;
        let rest = &text[prefix.len()..];
        let judged = run(rest.get(..JUDGED).unwrap_or(rest), takes);
        let fits = judged.len() >= *least && judged.contains(|c: char| c.is_ascii_digit());
        fits.then(|| prefix.len() + run(rest, takes).len())
    };
    known(&PREFIXES, &plain)
        .or_else(|| known(&POINTED, &pointed))
        .or_else(|| aws(text))
        .or_else(|| jwt(text, &plain))
        .or_else(|| telegram(text, &plain))
}

/// The secret part of a URL that `text` begins with: where it begins and ends.
pub(super) fn in_url(text: &str) -> Option<(usize, usize)> {
    let start = URLS.iter().find(|start| text.starts_with(**start))?;
    let rest = run(&text[start.len()..], &|byte| byte.is_ascii_alphanumeric() || b"/-_".contains(&byte));
    (rest.len() >= 20).then(|| (start.len(), start.len() + rest.len()))
}

/// An access key id: AKIA or ASIA and 16 capitals and digits.
fn aws(text: &str) -> Option<usize> {
    let id = run(text, &|byte| byte.is_ascii_alphanumeric());
    let fits = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit();
    ((id.starts_with("AKIA") || id.starts_with("ASIA")) && id.len() == 20 && id.bytes().all(fits)).then_some(20)
}

/// A JSON web token (RFC 7519): three parts, the first two of them JSON in base64; the last may be missing.
fn jwt(text: &str, takes: &dyn Fn(u8) -> bool) -> Option<usize> {
    let first = text.starts_with("eyJ").then(|| run(text, takes))?;
    let second = run(text[first.len()..].strip_prefix('.')?, takes);
    let two = first.len() + 1 + second.len();
    let third = run(text[two..].strip_prefix('.')?, takes);
    (first.len() >= 10 && second.len() >= 10).then_some(two + 1 + third.len())
}

/// A bot's token: its number, a colon, and 35 characters.
fn telegram(text: &str, takes: &dyn Fn(u8) -> bool) -> Option<usize> {
    let number = run(text, &|byte| byte.is_ascii_digit());
    let rest = text[number.len()..].strip_prefix(':')?;
    let secret = run(rest, takes);
    ((8..=10).contains(&number.len()) && secret.starts_with("AA") && secret.len() == 35)
        .then(|| number.len() + 1 + secret.len())
}

/// The beginning of a text that is made of such bytes, all of them ASCII.
fn run<'t>(text: &'t str, takes: &dyn Fn(u8) -> bool) -> &'t str {
    &text[..text.bytes().take_while(|byte| takes(*byte)).count()]
}
