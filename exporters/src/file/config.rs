//! The section `exporters::file`.

use super::groups::{Groups, Seen};
use millrace_config::{Checker, Duration, Optional, Thing, Validate};
use millrace_engine::component::Context;
use millrace_net::config::NotYet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::{Arc, OnceLock};

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
    /// Move the file aside when it is full; on as soon as the key is present.
    ///
    /// Go: tears a line off from its end where the file is exactly full, and loses what is larger than a file; here it
    /// is sent in halves.
    pub rotation: Optional<Rotation>,
    /// A file for each value of a resource attribute.
    ///
    /// Go: loses resources without the attribute without a word; here they are counted as lost and logged.
    pub group_by: GroupBy,
    /// The extension that encodes instead of `format`.
    pub encoding: NotYet,
    /// What the signals of one exporter share when it groups.
    #[serde(skip)]
    pub(super) shared_groups: SharedGroups,
}

impl Config {
    /// The permissions of a folder to be made, if it is to be made.
    #[must_use]
    pub fn directory_mode(&self) -> Option<u32> {
        self.create_directory.then(|| self.group_directory_mode())
    }

    /// The permissions of the folders that grouping makes.
    pub(super) fn group_directory_mode(&self) -> u32 {
        octal(&self.directory_permissions).unwrap_or(0o755)
    }

    fn check_grouping(&self, at: &mut Checker<'_>) {
        if self.path.matches('*').count() != 1 {
            at.error(
                "path",
                "must contain exactly one `*` when `group_by` is enabled\nfor example /data/*.json",
            );
        } else if self.path.starts_with('*') {
            at.error(
                "path",
                "must not start with `*` when `group_by` is enabled\nwrite ./* for the current folder",
            );
        }
        at.within("group_by", |at| {
            if self.group_by.resource_attribute.is_empty() {
                at.error("resource_attribute", "must not be empty when `group_by` is enabled");
            }
            if self.group_by.max_open_files < 1 {
                at.error("max_open_files", "must be at least 1");
            }
        });
    }
}

impl Validate for Config {
    fn validate(&self, at: &mut Checker<'_>) {
        if self.path.is_empty() {
            at.error("path", "is required: the file to write to");
        }
        if !self.group_by.enabled {
            at.claims("path", Thing::File(self.path.clone()));
        }
        if self.append && self.rotation.is_on() {
            at.error(
                "append",
                "append and rotation enabled at the same time is not supported\nremove `append`: a file that is rotated is \
                 never emptied",
            );
        }
        at.nested("rotation", &self.rotation);
        if self.group_by.enabled && !self.path.is_empty() {
            self.check_grouping(at);
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

/// `rotation`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Rotation {
    /// The most that a file holds; 0 stands for 100.
    pub max_megabytes: i64,
    /// Files that were moved aside are removed after so many days of 24 hours; 0 means never.
    pub max_days: i64,
    /// So many files that were moved aside are kept; 0 means all.
    pub max_backups: i64,
    /// Whether the times in their names are local, instead of UTC.
    pub localtime: bool,
}

impl Default for Rotation {
    fn default() -> Self {
        Self { max_megabytes: 0, max_days: 0, max_backups: 100, localtime: false }
    }
}

impl Validate for Rotation {
    fn validate(&self, at: &mut Checker<'_>) {
        if self.max_megabytes < 0 {
            at.error("max_megabytes", "must not be negative; 0 stands for 100");
        }
    }
}

/// `group_by`.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GroupBy {
    /// Whether `path` has a `*` in which the value of the attribute is put.
    pub enabled: bool,
    /// Which attribute of the resource.
    pub resource_attribute: String,
    /// The most files that are open at once.
    pub max_open_files: i64,
}

impl Default for GroupBy {
    fn default() -> Self {
        Self {
            enabled: false,
            resource_attribute: "fileexporter.path_segment".to_owned(),
            max_open_files: 100,
        }
    }
}

/// The open files of an exporter that groups, made by the first of its signals; clones of a configuration share them.
#[derive(Clone, Default)]
pub(super) struct SharedGroups(Arc<OnceLock<Arc<tokio::sync::Mutex<Groups>>>>);

impl fmt::Debug for SharedGroups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedGroups").finish_non_exhaustive()
    }
}

impl Config {
    /// The open files of an exporter that groups.
    pub(super) fn groups(&self, context: &Context) -> Arc<tokio::sync::Mutex<Groups>> {
        let groups = || Arc::new(tokio::sync::Mutex::new(Groups::new(self, Seen::of(context))));
        Arc::clone(self.shared_groups.0.get_or_init(groups))
    }
}
