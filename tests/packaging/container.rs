//! The image for containers, which `container/build` makes without an engine.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::{
    DEVICE, Finished, Sandbox, Testbed, WorkloadApi, finish, in_service, need, set_mode, sha256,
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_iotstream");

/// A static release build, to try that itself in place of the test's build.
const STATIC: &str = "IOTSTREAM_STATIC_PROGRAM";

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("container").join(name)
}

/// The head of a static program for x86-64, which is enough to be packed.
fn static_program(sandbox: &Sandbox) -> PathBuf {
    let mut head = b"\x7fELF\x02\x01\x01".to_vec();
    head.resize(64, 0);
    head[18] = 62;
    sandbox.write("static", head)
}

fn build(sandbox: &Sandbox, program: &Path, output: &str, certificates: &Path) -> Finished {
    let mut command = sandbox.command(need("python3"));
    command.arg(source("build")).arg(program).arg(output).arg("--certificates").arg(certificates);
    finish(&mut command)
}

/// Unpacks the image, and returns its configuration and layer.
fn unpacked(sandbox: &Sandbox, image: &str) -> (Value, PathBuf) {
    let directory = sandbox.path("image");
    fs::create_dir(&directory).unwrap();
    finish(sandbox.command("tar").args(["-xf", image, "-C", "image"])).succeeded();
    let json =
        |name: &str| -> Value { serde_json::from_slice(&fs::read(directory.join(name)).unwrap()).unwrap() };
    // What a digest names has it, and the size.
    let blob = |entry: &Value| {
        let name = entry["digest"].as_str().unwrap().replace(':', "/");
        let content = fs::read(directory.join("blobs").join(&name)).unwrap();
        assert_eq!(format!("sha256/{}", sha256(&content)), name);
        assert_eq!(entry["size"], content.len());
        format!("blobs/{name}")
    };
    assert_eq!(json("oci-layout"), json!({ "imageLayoutVersion": "1.0.0" }));
    let index = json("index.json");
    let manifest = json(&blob(&index["manifests"][0]));
    let (config, layer) = (blob(&manifest["config"]), blob(&manifest["layers"][0]));
    let docker = json("manifest.json");
    assert_eq!(docker, json!([{ "Config": config, "Layers": [layer], "RepoTags": ["iotstream:latest"] }]));
    let config = json(&config);
    assert_eq!(config["rootfs"]["diff_ids"], json!([manifest["layers"][0]["digest"]]));
    (config, directory.join(layer))
}

#[test]
fn an_image_holds_the_program_and_the_certificates_alone() {
    let sandbox = Sandbox::new();
    let (program, certificates) = (static_program(&sandbox), sandbox.write("ca.pem", "certificates"));
    build(&sandbox, &program, "one.tar", &certificates).succeeded();
    build(&sandbox, &program, "two.tar", &certificates).succeeded();
    assert_eq!(fs::read(sandbox.path("one.tar")).unwrap(), fs::read(sandbox.path("two.tar")).unwrap());
    let (config, layer) = unpacked(&sandbox, "one.tar");
    assert_eq!((&config["architecture"], &config["os"]), (&json!("amd64"), &json!("linux")));
    let expected =
        json!({ "User": "65532:65532", "Entrypoint": ["/usr/bin/iotstream"], "Cmd": ["agent", "-v"] });
    assert_eq!(config["config"], expected);
    let listed = finish(sandbox.command("tar").args(["-tvf"]).arg(layer)).succeeded();
    let files: BTreeSet<String> = listed
        .text()
        .lines()
        .map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            format!("{} {}", fields[0], fields[fields.len() - 1])
        })
        .filter(|line| !line.starts_with('d'))
        .collect();
    let expected = ["-rw-r--r-- etc/ssl/certs/ca-certificates.crt", "-rwxr-xr-x usr/bin/iotstream"];
    assert_eq!(files, expected.map(str::to_owned).into());
    // The Containerfile makes the same.
    let containerfile = fs::read_to_string(source("Containerfile")).unwrap();
    let (_, image) = containerfile.split_once("FROM scratch\n").unwrap();
    for line in ["USER 65532:65532", "ENTRYPOINT [\"/usr/bin/iotstream\"]", "CMD [\"agent\", \"-v\"]"] {
        assert!(image.lines().any(|found| found == line), "{line}");
    }
}

#[test]
fn a_program_that_needs_libraries_is_refused() {
    let sandbox = Sandbox::new();
    let certificates = sandbox.write("ca.pem", "");
    for (program, problem) in
        [(Path::new(PROGRAM), "the program is not static"), (&certificates, "not a program for Linux")]
    {
        let done = build(&sandbox, program, "image.tar", &certificates);
        assert!(!done.status.success() && done.stderr.contains(problem), "{}", done.stderr);
        assert!(!sandbox.path("image.tar").exists());
    }
}

#[test]
fn the_deployment_runs_the_agent_on_the_device_s_network() {
    let deployment: Value = serde_json::from_slice(&fs::read(source("deployment.json")).unwrap()).unwrap();
    let module = &deployment["modulesContent"]["$edgeAgent"]["properties.desired.modules.iotstream"];
    let options = module["settings"]["createOptions"].as_str().unwrap();
    // A longer text is split in a module's twin.
    assert!(options.len() <= 512, "{}", options.len());
    let options: Value = serde_json::from_str(options).unwrap();
    assert_eq!(options["HostConfig"]["NetworkMode"], "host");
    assert_eq!(options["Cmd"][0], "agent");
    assert_eq!(module["settings"]["image"], concat!("REGISTRY/iotstream:", env!("CARGO_PKG_VERSION")));
}

/// Runs the image's program in its root directory, as an engine does. The test's build finds this machine's libraries there.
const CONTAINER: &str = r#"
    set -e
    root=$1
    shift
    for name in /proc /dev /etc/hosts /etc/resolv.conf $LIBRARIES; do mount --rbind "$name" "$root$name"; done
    exec chroot --userspec=65532:65532 "$root" "$@"
"#;

#[test]
fn ssh_reaches_the_agent_in_the_container_of_a_module() {
    if !rustix::process::getuid().is_root() {
        eprintln!("only root can enter a root directory");
        return;
    }
    let testbed = Testbed::make(&["--device", "dev-1/iotstream"], |sandbox, hub, _, port| {
        let given = env::var_os(STATIC).map(PathBuf::from);
        let program = given.clone().unwrap_or_else(|| static_program(sandbox));
        build(sandbox, &program, "image.tar", &hub.dir.join("ca.pem")).succeeded();
        let (config, layer) = unpacked(sandbox, "image.tar");
        let root = sandbox.path("root");
        for directory in ["", "proc", "dev", "etc", "usr", "usr/lib", "usr/lib64"] {
            fs::create_dir(root.join(directory)).unwrap();
        }
        for file in ["etc/hosts", "etc/resolv.conf"] {
            fs::write(root.join(file), "").unwrap();
        }
        finish(sandbox.command("tar").arg("-xf").arg(layer).arg("-C").arg(&root)).succeeded();
        if given.is_none() {
            sandbox.copy_program(&root.join("usr/bin/iotstream"));
            for library in ["lib", "lib64"] {
                symlink(Path::new("usr").join(library), root.join(library)).unwrap();
            }
        }
        let api = WorkloadApi::start(sandbox, hub, "iotstream");
        let socket = sandbox.path("workload.sock");
        set_mode(&socket, 0o666);
        fs::hard_link(&socket, root.join("workload.sock")).unwrap();
        let mut command = sandbox.command(need("unshare"));
        command.envs(api.environment()).env("IOTEDGE_WORKLOADURI", "unix:///workload.sock");
        command.env("LIBRARIES", if given.is_none() { "/usr/lib /usr/lib64" } else { "" });
        command.args(["--mount", "sh", "-c", CONTAINER, "sh"]).arg(&root);
        let words =
            |name: &str| config["config"][name].as_array().unwrap().iter().map(|word| word.as_str().unwrap());
        command
            .args(words("Entrypoint"))
            .args(words("Cmd"))
            .args(["--target", &format!("ssh=127.0.0.1:{port}")]);
        // A directory of this machine is none of the container's.
        command.current_dir("/");
        in_service(&mut command)
    });
    testbed.configure("--module iotstream");
    let done = finish(testbed.openssh("ssh").args([DEVICE, "echo there"]));
    assert_eq!(done.succeeded().text(), "there\n");
    let status = fs::read_to_string(format!("/proc/{}/status", testbed.agent.pid())).unwrap();
    assert!(status.contains("\nUid:\t65532\t65532\t65532\t65532\n"), "{status}");
}
