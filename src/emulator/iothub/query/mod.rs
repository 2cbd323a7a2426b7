//! The query language of twins \[D]:
//!
//! ```text
//! query      = SELECT ( * | column { , column } ) FROM ( devices | devices.modules ) [ WHERE either ]
//! column     = path [ AS name ]
//! either     = both { OR both }
//! both       = negation { AND negation }
//! negation   = NOT negation | comparison
//! comparison = value [ ( = | != | <> | < | <= | > | >= ) value | ( IN | NIN ) list ]
//! value      = path | constant | ( either ) | IS_DEFINED ( path ) | STARTSWITH ( value , value )
//! list       = [ [ constant { , constant } ] ]
//! ```
//!
//! The service also counts, groups and calculates.

mod expression;
mod parser;
mod path;
mod statement;
mod words;

pub(super) use statement::{Collection, Statement};
