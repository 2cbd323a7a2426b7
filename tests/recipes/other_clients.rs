use std::fs;

use super::recipe::Recipe;
use crate::support::{LIMIT, Stdin, finish, need, run};

/// The user's key under the name that the page has, and the name of the user.
fn key_and_name(recipe: &Recipe) -> String {
    fs::copy(recipe.path("user_key"), recipe.path(".ssh/id_ed25519")).unwrap();
    finish(recipe.sandbox.command("id").arg("-un")).succeeded().text().trim().to_owned()
}

pub fn plink(recipe: &mut Recipe) {
    need("plink");
    let name = key_and_name(recipe);
    // The first line of stdin confirms the host key.
    let done = run(recipe.block().env("USER", name), Stdin::Ends(b"y\n\n"), LIMIT).succeeded();
    assert_eq!(done.text(), "Linux\n", "{}", done.stderr);
}

pub fn dbclient(recipe: &mut Recipe) {
    let name = key_and_name(recipe);
    let host_key = fs::read_to_string(recipe.path("host_key.pub")).unwrap();
    // dbclient takes a comment for a part of the key.
    let (host_key, _comment) = host_key.rsplit_once(' ').unwrap();
    recipe.sandbox.write(".ssh/known_hosts", format!("gw-07.factory {host_key}\n"));
    let done = finish(recipe.block().env("USER", name)).succeeded();
    assert_eq!(done.text(), "Linux\n", "{}", done.stderr);
}
