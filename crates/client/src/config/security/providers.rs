//! Config providers (KIP-297, KIP-421): values that are stored elsewhere, written `${file:/path:key}`,
//! `${directory:/path:key}` or `${env:NAME}`.

use std::{collections::BTreeMap, env, fmt, fs::File, io::Read, path::Path, sync::Arc};

use offtake_net::Secret;

use crate::config::parse_properties;

/// Larger files are refused: they contain something else.
const LARGEST_FILE: u64 = 1 << 20;

/// The kind of a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A Java `.properties` file.
    File,
    /// A folder with a file for each key.
    Directory,
    /// The environment.
    Env,
}

impl Kind {
    /// Accepts Java's class, or the name that the documentation gives such a provider.
    fn from_text(text: &str) -> Option<Self> {
        match text.rsplit('.').next()? {
            "FileConfigProvider" | "file" => Some(Self::File),
            "DirectoryConfigProvider" | "directory" | "dir" => Some(Self::Directory),
            "EnvVarConfigProvider" | "env" => Some(Self::Env),
            _ => None,
        }
    }
}

/// The providers that a configuration names.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Providers {
    named: Arc<BTreeMap<String, Provider>>,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Provider {
    /// Whether `config.providers` lists it.
    is_listed: bool,
    kind: Option<Kind>,
    /// `allowed.paths`: where files may be; empty for anywhere (KIP-993).
    allowed: Vec<String>,
}

impl Providers {
    /// Sets `config.providers` or an option that begins with it. `Err` describes the valid values.
    pub(super) fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let named = Arc::make_mut(&mut self.named);
        let Some(rest) = name.strip_prefix("config.providers.") else {
            named.values_mut().for_each(|provider| provider.is_listed = false);
            for listed in value.split(',').map(str::trim).filter(|listed| !listed.is_empty()) {
                named.entry(listed.to_owned()).or_default().is_listed = true;
            }
            return Ok(());
        };
        let (provider, what) = rest.split_once('.').unwrap_or((rest, ""));
        let provider = named.entry(provider.to_owned()).or_default();
        match what {
            "class" => {
                let classes =
                    "a FileConfigProvider, DirectoryConfigProvider or EnvVarConfigProvider of Kafka's";
                provider.kind = Some(Kind::from_text(value.trim()).ok_or_else(|| classes.to_owned())?);
            }
            "param.allowed.paths" => {
                provider.allowed = value
                    .split(',')
                    .map(|path| path.trim().to_owned())
                    .filter(|path| !path.is_empty())
                    .collect();
            }
            _ => {
                return Err(
                    "`class` or `param.allowed.paths` behind the provider's name, no other setting of it"
                        .to_owned(),
                );
            }
        }
        Ok(())
    }

    /// Whether a name is one of those that [`set`](Self::set) takes.
    pub(super) fn takes(name: &str) -> bool {
        name == "config.providers" || name.starts_with("config.providers.")
    }

    /// The value with all its references replaced; `None` if it has none. `Err` names the one that cannot be
    /// resolved, and the reason.
    pub(super) fn resolve(&self, value: &str) -> Result<Option<Secret>, String> {
        let mut resolved = String::new();
        let mut found = false;
        let mut rest = value;
        while let Some((before, reference, after)) = next_reference(rest) {
            if let Some(provider) = self.named.get(reference.provider).filter(|provider| provider.is_listed) {
                found = true;
                resolved.push_str(before);
                let said = |why| format!("{reference} cannot be resolved: {why}");
                resolved.push_str(&provider.look_up(&reference).map_err(said)?);
            } else if Kind::from_text(reference.provider).is_some() {
                return Err(format!(
                    "{reference} is a reference that no config provider resolves: add `config.providers={}`",
                    reference.provider
                ));
            } else {
                resolved.push_str(&rest[..rest.len() - after.len()]);
            }
            rest = after;
        }
        resolved.push_str(rest);
        Ok(found.then(|| Secret::from(resolved)))
    }
}

/// `${provider:path:key}` or `${provider:key}`.
#[derive(Clone, Copy, Debug)]
struct Reference<'a> {
    provider: &'a str,
    path: &'a str,
    key: &'a str,
}

impl fmt::Display for Reference<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { provider, path, key } = self;
        if path.is_empty() {
            write!(f, "${{{provider}:{key}}}")
        } else {
            write!(f, "${{{provider}:{path}:{key}}}")
        }
    }
}

/// Whether a value may refer to a config provider.
pub(crate) fn refers(value: &str) -> bool {
    next_reference(value).is_some()
}

/// The first reference, with what is before and after it.
fn next_reference(text: &str) -> Option<(&str, Reference<'_>, &str)> {
    let mut from = 0;
    loop {
        let start = from + text.get(from..)?.find("${")?;
        let inside = text.get(start + 2..)?;
        let end = inside.find('}')?;
        let (inner, after) = (inside.get(..end)?, inside.get(end + 1..)?);
        if let Some((provider, place)) = inner.split_once(':') {
            let (path, key) = place.rsplit_once(':').unwrap_or(("", place));
            return Some((text.get(..start)?, Reference { provider, path, key }, after));
        }
        from = start + 2;
    }
}

impl Provider {
    fn look_up(&self, reference: &Reference<'_>) -> Result<String, String> {
        let Reference { provider, path, key } = *reference;
        match self.kind.or_else(|| Kind::from_text(provider)) {
            None => Err(format!("set `config.providers.{provider}.class`")),
            Some(Kind::Env) => match env::var(key) {
                Ok(value) => Ok(value),
                Err(env::VarError::NotPresent) => Err("the variable is not set".to_owned()),
                Err(env::VarError::NotUnicode(_)) => Err("the variable is not UTF-8".to_owned()),
            },
            Some(Kind::File) => {
                let text = self.read(Path::new(path))?;
                let properties = parse_properties(&text).map_err(|error| error.to_string())?;
                let found = properties.into_iter().rev().find(|(name, _)| name == key);
                found.map(|(_, value)| value).ok_or_else(|| "the file has no such key".to_owned())
            }
            Some(Kind::Directory) => {
                if key.is_empty() || key.contains(['/', '\\']) || key == ".." {
                    return Err("the key is not the name of a file".to_owned());
                }
                let mut text = self.read(&Path::new(path).join(key))?;
                // Editors end a file with a line break, which a password does not contain.
                let end = text.trim_end_matches(['\n', '\r']).len();
                text.truncate(end);
                Ok(text)
            }
        }
    }

    fn read(&self, path: &Path) -> Result<String, String> {
        if !path.is_absolute() {
            return Err("the path has to be absolute".to_owned());
        }
        let real = path.canonicalize().map_err(|error| error.to_string())?;
        let is_allowed = |allowed: &String| {
            Path::new(allowed).canonicalize().is_ok_and(|allowed| real.starts_with(allowed))
        };
        if !self.allowed.is_empty() && !self.allowed.iter().any(is_allowed) {
            return Err("the path is not in `allowed.paths`".to_owned());
        }
        let mut text = String::new();
        let file = File::open(&real).map_err(|error| error.to_string())?;
        file.take(LARGEST_FILE + 1).read_to_string(&mut text).map_err(|error| error.to_string())?;
        if text.len() as u64 > LARGEST_FILE {
            Err("the file is larger than 1 MiB".to_owned())
        } else {
            Ok(text)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::PathBuf};

    use super::*;

    /// A folder that is deleted when the test ends.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = env::temp_dir().join(format!("offtake-providers-{}-{name}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn file(&self, name: &str, text: &str) -> String {
            fs::write(self.0.join(name), text).unwrap();
            self.0.join(name).display().to_string()
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn providers(settings: &[(&str, &str)]) -> Providers {
        let mut providers = Providers::default();
        for (name, value) in settings {
            providers.set(name, value).unwrap();
        }
        providers
    }

    fn resolved(providers: &Providers, value: &str) -> String {
        let secret = providers.resolve(value).unwrap().expect("it has references");
        secret.expose_str().unwrap().to_owned()
    }

    #[test]
    fn references_are_replaced_by_what_they_lead_to() {
        let folder = Folder::new("replaced");
        let file = folder.file("secrets.properties", "user=alice\npassword=a:b=c}\n");
        folder.file("token", "t0ken\n");
        let class = "org.apache.kafka.common.config.provider.FileConfigProvider";
        let providers =
            providers(&[("config.providers", "vault, directory"), ("config.providers.vault.class", class)]);
        assert_eq!(resolved(&providers, &format!("${{vault:{file}:password}}")), "a:b=c}");
        let both = format!("user=${{vault:{file}:user}} token=${{directory:{}:token}};", folder.0.display());
        assert_eq!(resolved(&providers, &both), "user=alice token=t0ken;");
    }

    #[test]
    fn a_file_that_is_too_large_is_refused_and_not_cut() {
        let folder = Folder::new("large");
        folder.file("fits", &"x".repeat(1 << 20));
        folder.file("large", &"x".repeat((1 << 20) + 1));
        let providers = providers(&[("config.providers", "directory")]);
        let folder = folder.0.display();
        assert_eq!(resolved(&providers, &format!("${{directory:{folder}:fits}}")).len(), 1 << 20);
        let error = providers.resolve(&format!("${{directory:{folder}:large}}")).unwrap_err();
        assert!(error.contains("larger than 1 MiB"), "{error}");
    }

    #[test]
    fn a_value_without_a_valid_reference_is_unchanged() {
        let providers = providers(&[("config.providers", "env")]);
        for value in ["plain", "$5", "${", "${}", "${HOME}", "a${other:x}b", "{env:PATH}"] {
            assert_eq!(providers.resolve(value).unwrap(), None, "{value}");
        }
    }

    #[test]
    fn a_reference_that_leads_nowhere_is_a_mistake_that_says_so() {
        let folder = Folder::new("nowhere");
        let file = folder.file("f", "a=1");
        let all = providers(&[("config.providers", "env,file,directory,mine")]);
        for (value, says) in [
            ("${env:OFFTAKE_NO_SUCH_VARIABLE}".to_owned(), "the variable is not set"),
            (format!("${{file:{file}:b}}"), "no such key"),
            ("${file:relative:b}".to_owned(), "absolute"),
            ("${file:/no/such/file:b}".to_owned(), "cannot be resolved"),
            (format!("${{directory:{}:../f}}", folder.0.display()), "not the name of a file"),
            ("${mine:x}".to_owned(), "config.providers.mine.class"),
        ] {
            let error = all.resolve(&value).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
        let error = Providers::default().resolve("${env:HOME}").unwrap_err();
        assert!(error.contains("add `config.providers=env`"), "{error}");
    }

    #[test]
    fn paths_may_be_limited() {
        let (inside, outside) = (Folder::new("inside"), Folder::new("outside"));
        let (fine, other) = (inside.file("f", "a=1"), outside.file("f", "a=1"));
        let allowed = inside.0.display().to_string();
        let limited = providers(&[
            ("config.providers", "file"),
            ("config.providers.file.param.allowed.paths", &allowed),
        ]);
        assert_eq!(resolved(&limited, &format!("${{file:{fine}:a}}")), "1");
        assert!(limited.resolve(&format!("${{file:{other}:a}}")).unwrap_err().contains("allowed.paths"));
        let around = format!("${{file:{allowed}/../{}/f:a}}", outside.0.file_name().unwrap().display());
        assert!(limited.resolve(&around).unwrap_err().contains("allowed.paths"));
    }

    #[test]
    fn a_class_that_is_not_kafkas_is_refused() {
        let error = Providers::default().set("config.providers.x.class", "com.example.Vault").unwrap_err();
        assert!(error.contains("FileConfigProvider"), "{error}");
        assert!(Providers::default().set("config.providers.env.param.allowlist.pattern", ".*").is_err());
    }
}
