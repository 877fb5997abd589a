//! What stands in `deploy`, held against those who are to read it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use nightferry::config;

fn deploy(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(path)
}

fn read(path: &str) -> String {
    fs::read_to_string(deploy(path)).unwrap()
}

/// Runs systemd-analyze; nothing where the machine has none.
fn analyze(arguments: &[&str], unit: &Path) -> Option<String> {
    let output = match Command::new("systemd-analyze").args(arguments).arg(unit).output() {
        Ok(output) => output,
        Err(error) => {
            println!("left out: systemd-analyze: {error}");
            return None;
        }
    };
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(output.status.success(), "{text}");
    Some(text)
}

/// The unit in a folder of its own, with this build as its program, and a drop-in.
fn placed(unit: &str, drop_in: Option<&str>) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(unit);
    let text = read(&format!("systemd/{unit}"));
    assert!(text.contains("ExecStart=/usr/bin/nightferry "), "{text}");
    fs::write(&path, text.replace("/usr/bin/nightferry", env!("CARGO_BIN_EXE_nightferry"))).unwrap();
    if let Some(drop_in) = drop_in {
        let below = folder.path().join(format!("{unit}.d"));
        fs::create_dir(&below).unwrap();
        fs::copy(deploy(&format!("systemd/{drop_in}")), below.join(drop_in)).unwrap();
    }
    (folder, path)
}

#[test]
fn systemd_takes_the_units_and_finds_them_shut() {
    for (unit, drop_in) in [
        ("nightferry.service", None),
        ("nightferry.service", Some("nightferry-read-all.conf")),
        ("nightferry-sync.service", None),
        ("nightferry-sync.service", Some("nightferry-read-all.conf")),
    ] {
        let (_folder, path) = placed(unit, drop_in);
        if let Some(text) = analyze(&["verify", "--man=no", "--recursive-errors=no"], &path) {
            assert_eq!(text, "", "{unit}");
        }
        let Some(text) = analyze(&["security", "--offline=true", "--no-pager"], &path) else { continue };
        let level = text.split("Overall exposure level for ").nth(1).unwrap();
        let level: f64 = level.split_whitespace().nth(1).unwrap().parse().unwrap();
        assert!(level <= 2.0, "{unit} {drop_in:?}: {level}");
    }
}

#[test]
fn the_service_is_not_root_and_holds_what_the_agent_needs() {
    for unit in ["nightferry.service", "nightferry-sync.service"] {
        let text = read(&format!("systemd/{unit}"));
        for line in
            ["User=nightferry", "StateDirectory=nightferry", "StateDirectoryMode=0700", "NoNewPrivileges=yes"]
        {
            assert!(text.lines().any(|found| found == line), "{unit}: {line}");
        }
    }
    let service = read("systemd/nightferry.service");
    for line in ["Type=notify", "ExecReload=/bin/kill -HUP $MAINPID", "WatchdogSec=5min"] {
        assert!(service.lines().any(|found| found == line), "{line}");
    }
    assert!(read("systemd/nightferry.sysusers").contains("\nu nightferry "));
}

#[test]
fn the_configurations_in_it_are_good_ones() {
    let docker = config::load(&deploy("docker/jobs.yaml")).unwrap();
    assert!(docker.agent.status.is_some_and(|page| page.address.ip().is_unspecified()));

    let manifests = read("kubernetes/cronjob.yaml");
    let documents: Vec<serde_yaml::Value> =
        manifests.split("\n---\n").map(|document| serde_yaml::from_str(document).unwrap()).collect();
    let kinds: Vec<_> = documents.iter().map(|document| document["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["ConfigMap", "PersistentVolumeClaim", "CronJob"]);
    let folder = tempfile::tempdir().unwrap();
    let jobs = folder.path().join("jobs.yaml");
    fs::write(&jobs, documents[0]["data"]["jobs.yaml"].as_str().unwrap()).unwrap();
    config::load(&jobs).unwrap();
    let spec = &documents[2]["spec"];
    assert_eq!(spec["concurrencyPolicy"].as_str(), Some("Forbid"));
    let pod = &spec["jobTemplate"]["spec"]["template"]["spec"];
    assert_eq!(pod["containers"][0]["args"][0].as_str(), Some("sync"));
    assert_eq!(pod["securityContext"]["runAsNonRoot"].as_bool(), Some(true));
}

/// What one stage copies from the other is made there, what is started is what was copied, and the libraries that
/// it is linked to are among those of the image.
#[test]
fn the_image_has_what_its_program_needs() {
    let text = read("docker/Dockerfile");
    let (build, image) = text.split_once("\nFROM gcr.io/distroless/cc-debian12:nonroot\n").unwrap();
    assert!(build.contains("cargo build --release --locked --bin nightferry"), "{build}");
    let copies: Vec<Vec<&str>> = image
        .lines()
        .filter_map(|line| line.strip_prefix("COPY --from=build "))
        .map(|line| line.split(' ').filter(|word| !word.starts_with("--")).collect())
        .collect();
    assert_eq!(copies.len(), 3, "{image}");
    for copy in &copies {
        assert!(build.contains(copy[0]), "{copy:?} is not made");
    }
    let program = copies.iter().find(|copy| copy[0].ends_with("/nightferry")).unwrap()[1];
    let line = |name: &str| image.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
    assert_eq!(line("ENTRYPOINT"), format!("[\"{program}\"]"));
    assert_eq!(line("CMD"), "[\"run\"]");
    assert!(copies.iter().any(|copy| line("ENV") == format!("STATE_DIRECTORY={}", copy[1])));

    // Everything that cargo reads to build it is sent to the builder.
    let left_out = read("docker/Dockerfile.dockerignore");
    let tracked = ["src", "Cargo.toml", "Cargo.lock", "tests/ftps-server", "jobs.example.yaml", "examples"];
    for needed in tracked {
        assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(needed).exists(), "{needed}");
        assert!(
            !left_out.lines().any(|path| needed.starts_with(path) || path.starts_with(needed)),
            "{needed}"
        );
    }

    // distroless/cc: glibc, libgcc and libstdc++, the authorities' certificates and the time zones.
    let ldd = Command::new("ldd").arg(env!("CARGO_BIN_EXE_nightferry")).output().unwrap();
    for library in String::from_utf8(ldd.stdout).unwrap().lines() {
        let name = library.split_whitespace().next().unwrap().rsplit('/').next().unwrap();
        let known = ["linux-vdso.so", "libgcc_s.so", "libm.so", "libc.so", "ld-linux"];
        assert!(known.iter().any(|known| name.starts_with(known)), "{library}");
    }
}
