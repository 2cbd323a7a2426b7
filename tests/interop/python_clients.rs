//! ssh clients written in Python. They run the helper with their own pipes: the end of stderr may mean the end of the
//! connection.

use std::time::Duration;

use crate::support::{DEVICE, LIMIT, Stdin, Testbed, python_program, run};

/// The limit within which nothing of a session is left.
const GONE: Duration = Duration::from_secs(5);

const ASYNCSSH: &str = r#"
import asyncio, asyncssh, sys
user, key, *helper = sys.argv[1:]

async def main():
    options = dict(username=user, client_keys=[key], known_hosts=None, config=None, agent_path=None)
    async with asyncssh.connect("dev-1", proxy_command=helper, **options) as connection:
        print((await connection.run("echo reached", check=True)).stdout, end="")
        big = await connection.run("head -c 3000000 /dev/zero", check=True, encoding=None)
        print(len(big.stdout))

asyncio.run(main())
"#;

const PARAMIKO: &str = r#"
import paramiko, shlex, sys
user, key, *helper = sys.argv[1:]
client = paramiko.SSHClient()
client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
proxy = paramiko.ProxyCommand(shlex.join(helper))
client.connect("dev-1", username=user, key_filename=key, sock=proxy, allow_agent=False, look_for_keys=False)
for command in "echo reached", "head -c 3000000 /dev/zero | wc -c":
    _, stdout, _ = client.exec_command(command)
    print(stdout.read().decode(), end="")
client.close()
"#;

#[track_caller]
fn reaches_the_device_and_leaves_nothing(script: &str) {
    let testbed = Testbed::start();
    let me = run(testbed.sandbox.command("id").arg("-un"), Stdin::Ends(b""), LIMIT).succeeded();
    let mut client = testbed.sandbox.command(python_program("python"));
    client.args(["-c", script, me.text().trim()]).arg(testbed.sandbox.path("user_key"));
    let helper = testbed.hub.helper(&testbed.sandbox);
    client.arg(helper.get_program()).args(helper.get_args()).args(["--", DEVICE]);
    let done = run(&mut client, Stdin::Ends(b""), LIMIT).succeeded();
    assert_eq!(done.text(), "reached\n3000000\n", "{}", done.stderr);
    testbed.sandbox.leaves_only(GONE, &testbed.residents());
}

#[test]
fn asyncssh_reaches_a_device_and_leaves_nothing_behind() {
    reaches_the_device_and_leaves_nothing(ASYNCSSH);
}

#[test]
fn paramiko_reaches_a_device_and_leaves_nothing_behind() {
    reaches_the_device_and_leaves_nothing(PARAMIKO);
}

#[test]
fn asyncssh_receives_the_reason() {
    let mut testbed = Testbed::start();
    testbed.agent.kill();
    let script = format!(
        "{}\ntry:\n    asyncio.run(main())\nexcept asyncssh.DisconnectError as error:\n    print(error.reason)\n",
        ASYNCSSH.trim_end().trim_end_matches("asyncio.run(main())")
    );
    let mut client = testbed.sandbox.command(python_program("python"));
    client.args(["-c", &script, "nobody"]).arg(testbed.sandbox.path("user_key"));
    let helper = testbed.hub.helper(&testbed.sandbox);
    client.arg(helper.get_program()).args(helper.get_args()).args(["--connect-timeout", "1s", "--", DEVICE]);
    let done = run(&mut client, Stdin::Ends(b""), LIMIT).succeeded();
    assert!(
        done.text().starts_with("iotstream: device dev-1 is not connected"),
        "{} {}",
        done.text(),
        done.stderr
    );
}
