//! What the endpoint says of itself.

use axum::response::Response;

use super::render::json;
use axum::http::StatusCode;

const TEXT: &str = include_str!("openapi.json");

pub(super) async fn openapi() -> Response {
    json(StatusCode::OK, TEXT.replacen("\"VERSION\"", concat!("\"", env!("CARGO_PKG_VERSION"), "\""), 1))
}
