//! The REST API of the hub.
//!
//! | request | answered in |
//! | --- | --- |
//! | `POST /twins/ID/streams/NAME` | [`streams`] |
//! | `POST /devices/query` | [`query`] |
//! | `GET /devices`, `GET`, `PUT` or `DELETE /devices/ID`, `GET /statistics/…` | [`devices`] |
//! | `GET`, `PATCH` or `PUT /twins/ID` | [`twins`] |
//!
//! `ID` may be that of a module, `ID/modules/ID`; `GET /devices/ID/modules` lists them.
//!
//! [`route`] reads the path, [`dispatch`] checks the request and calls these, and [`answers`] has the form of an answer
//! and of an error.

mod answers;
mod credentials;
mod description;
mod devices;
mod dispatch;
mod identity;
mod if_match;
mod query;
mod route;
mod streams;
mod twins;
