//! The page for people. Its files are part of the program, and it reads what everyone can read over the API.

use axum::Router;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::agent::AgentPath;
use super::error::Problem;

const HTML: &str = include_str!("page/index.html");
const SCRIPT: &str = include_str!("page/page.js");
const STYLE: &str = include_str!("page/page.css");
const ICON: &str = include_str!("page/icon.svg");

pub(super) fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new()
        .route("/", get(|| async { file("text/html; charset=utf-8", HTML) }))
        .route("/agents/", get(agent))
        .route("/agents/{agentId}", get(agent))
        .route("/page/page.js", get(|| async { file("text/javascript; charset=utf-8", SCRIPT) }))
        .route("/page/page.css", get(|| async { file("text/css; charset=utf-8", STYLE) }))
        .route("/page/icon.svg", get(|| async { file("image/svg+xml", ICON) }))
}

/// The same page: its script reads the id from the address.
async fn agent(_: AgentPath) -> Result<Response, Problem> {
    Ok(file("text/html; charset=utf-8", HTML))
}

fn file(content_type: &'static str, text: &'static str) -> Response {
    ([(header::CONTENT_TYPE, content_type)], text).into_response()
}
