//! The section `exporters::file`.

use millrace_config::{Checker, Duration, Optional, Validate};
use millrace_net::config::NotYet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The file exporter's configuration.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The file to write to; required.
    pub path: String,
    /// How a request is written.
    pub format: Format,
    /// Keep what is in the file already, instead of emptying it at the start.
    pub append: bool,
    /// Compress each request by itself.
    pub compression: Compression,
    /// How hard to compress.
    pub compression_params: CompressionParams,
    /// Accepted for compatibility: a request is answered when it has been written, so there is nothing to flush.
    pub flush_interval: Duration,
    /// Make the folder if it is missing.
    pub create_directory: bool,
    /// Its permissions, in octal, before the process's umask; 0755 if empty.
    pub directory_permissions: String,
    /// Not built yet.
    pub rotation: Optional<Rotation>,
    /// Not built yet; may be present as long as it is off.
    pub group_by: GroupBy,
    /// Not built yet.
    pub encoding: NotYet,
}

impl Config {
    /// The permissions of a folder to be made, if it is to be made.
    #[must_use]
    pub fn directory_mode(&self) -> Option<u32> {
        self.create_directory.then(|| octal(&self.directory_permissions).unwrap_or(0o755))
    }
}

impl Validate for Config {
    fn validate(&self, at: &mut Checker<'_>) {
        if self.path.is_empty() {
            at.error("path", "is required: the file to write to");
        }
        if self.rotation.is_on() {
            at.error(
                "rotation",
                "is not supported yet; remove it\nlogrotate with `copytruncate` can rotate the file from outside",
            );
        }
        if self.group_by.enabled {
            at.error("group_by", "is not supported yet; remove it or set `enabled: false`");
        }
        if self.compression == Compression::None && self.compression_params.level != 0 {
            at.warning("compression_params", "has no effect without `compression: zstd`");
        }
        if !self.directory_permissions.is_empty() {
            if !self.create_directory {
                at.error("directory_permissions", "requires `create_directory: true`");
            } else if octal(&self.directory_permissions).is_none() {
                at.error("directory_permissions", "must be up to three octal digits such as \"0755\"");
            }
        }
    }
}

fn octal(text: &str) -> Option<u32> {
    u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o777)
}

/// `format`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// OTLP/JSON, one request per line.
    #[default]
    Json,
    /// OTLP/protobuf, each request after its length in four bytes, the highest first.
    Proto,
}

/// `compression`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(try_from = "String", rename_all = "lowercase")]
#[schemars(extend("enum" = ["", "none", "zstd"]))]
pub enum Compression {
    /// Written as `none` or, as in Go, as an empty text.
    #[default]
    None,
    /// Each request is a Zstandard frame of its own, after its length in four bytes, the highest first, in either
    /// format.
    Zstd,
}

impl TryFrom<String> for Compression {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        match name.as_str() {
            "" | "none" => Ok(Self::None),
            "zstd" => Ok(Self::Zstd),
            _ => Err(format!("`{name}` is not supported\naccepted values: none, zstd")),
        }
    }
}

/// `compression_params`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CompressionParams {
    /// From 1, the fastest, to 22; 0 is the library's own choice, 3.
    pub level: i32,
}

/// `rotation`; read so that it can be refused as a whole.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Rotation {
    /// Unused.
    pub max_megabytes: i64,
    /// Unused.
    pub max_days: i64,
    /// Unused.
    pub max_backups: i64,
    /// Unused.
    pub localtime: bool,
}

/// `group_by`.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GroupBy {
    /// Must be off.
    pub enabled: bool,
    /// Unused.
    pub resource_attribute: String,
    /// Unused.
    pub max_open_files: i64,
}
