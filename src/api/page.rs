//! The page for people. Its files are part of the program, and it reads what everyone can read over the API.

use axum::Router;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::agent::AgentPath;
use super::error::Problem;

const HTML: &str = include_str!("page/index.html");

const JS: &str = "text/javascript; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// What the page asks for: its address, its type, its text.
const FILES: [(&str, &str, &str); 14] = [
    ("/page/page.js", JS, include_str!("page/page.js")),
    ("/page/agent.js", JS, include_str!("page/agent.js")),
    ("/page/chart.js", JS, include_str!("page/chart.js")),
    ("/page/dom.js", JS, include_str!("page/dom.js")),
    ("/page/model.js", JS, include_str!("page/model.js")),
    ("/page/overview.js", JS, include_str!("page/overview.js")),
    ("/page/stream.js", JS, include_str!("page/stream.js")),
    ("/page/table.js", JS, include_str!("page/table.js")),
    ("/page/page.css", CSS, include_str!("page/page.css")),
    ("/page/table.css", CSS, include_str!("page/table.css")),
    ("/page/agent.css", CSS, include_str!("page/agent.css")),
    ("/page/icon.svg", SVG, include_str!("page/icon.svg")),
    ("/page/icon-bad.svg", SVG, include_str!("page/icon-bad.svg")),
    ("/page/icon-stale.svg", SVG, include_str!("page/icon-stale.svg")),
];

pub(super) fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    let pages = Router::new()
        .route("/", get(|| async { file("text/html; charset=utf-8", HTML) }))
        .route("/agents/", get(agent))
        .route("/agents/{agentId}", get(agent));
    FILES
        .into_iter()
        .fold(pages, |router, (path, kind, text)| router.route(path, get(move || async { file(kind, text) })))
}

/// The same page: its script reads the id from the address.
async fn agent(_: AgentPath) -> Result<Response, Problem> {
    Ok(file("text/html; charset=utf-8", HTML))
}

fn file(content_type: &'static str, text: &'static str) -> Response {
    ([(header::CONTENT_TYPE, content_type)], text).into_response()
}
