//! The REST API of the hub.
//!
//! | request | answered in |
//! | --- | --- |
//! | `POST /twins/ID/streams/NAME` | [`streams`] |
//! | `POST /devices/query` | [`query`] |
//! | `GET /devices`, `GET`, `PUT` or `DELETE /devices/ID`, `GET /devices/ID/modules/ID`, `GET /statistics/…` | [`devices`] |
//! | `GET`, `PATCH` or `PUT /twins/ID` | [`twins`] |
//!
//! [`route`] reads the path, [`dispatch`] checks the request and calls these, and [`answers`] has the form of an answer
//! and of an error.

mod answers;
mod description;
mod devices;
mod dispatch;
mod identity;
mod query;
mod route;
mod streams;
mod twins;
