//! Documentation topics, rendered in a terminal or as HTML.
