//! What the endpoint says of itself.

use std::sync::LazyLock;

use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;

use super::render::{ETag, json};

const TEXT: &str = include_str!("openapi.json");

static DOCUMENT: LazyLock<(Bytes, ETag)> = LazyLock::new(|| {
    let text = TEXT.replacen("\"VERSION\"", concat!("\"", env!("CARGO_PKG_VERSION"), "\""), 1);
    let tag = ETag::of(text.as_bytes());
    (Bytes::from(text), tag)
});

pub(super) async fn openapi(headers: HeaderMap) -> Response {
    let (document, tag) = &*DOCUMENT;
    tag.unless_known(&headers, || json(StatusCode::OK, document.clone()))
}
