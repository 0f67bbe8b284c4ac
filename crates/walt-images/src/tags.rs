//! Tags of ours that hold content no user name leads to (any more), and what else the store holds under any name.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

use crate::catalogue::{Catalogue, CatalogueError, Facts, ImageId, Inspected, OURS, walt_fullname};
use crate::command::CommandError;
use crate::podman::{CHANGE_DEADLINE, PodmanError, READ_DEADLINE};
use crate::roots;

/// Prefix of the tags that hold earlier versions of image names; the image id follows.
pub const VERSION_PREFIX: &str = "localhost/walt/version:";
/// Prefix of the tags of content that waits for the end of a container that uses it; the image id follows.
pub const LEAVING_PREFIX: &str = "localhost/walt/leaving:";
/// Prefix of the tags of changes under way; removed when the server starts.
pub const OP_PREFIX: &str = "localhost/walt/op:";

/// What never changes for an image id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageFacts {
    /// The image.
    pub id: ImageId,
    /// Models of its label, in the label's order.
    pub models: Vec<String>,
    /// All its labels.
    pub labels: BTreeMap<String, String>,
    /// Size of all its layers, in bytes.
    pub size: u64,
    /// Creation time, seconds since 1970.
    pub created: i64,
    /// Number of layers.
    pub layers: usize,
}

/// Everything the store holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Content {
    /// All references, ours and those of users, and what they mean.
    pub references: BTreeMap<String, ImageId>,
    /// All images, with or without a name.
    pub images: Vec<ImageId>,
}

impl Content {
    /// The references a full name is stored under: one, unless several registries have the name.
    pub fn references_of(&self, fullname: &str) -> Vec<(&str, &ImageId)> {
        let of = |reference: &str| walt_fullname(reference).as_deref() == Some(fullname);
        let all = self.references.iter().map(|(reference, id)| (reference.as_str(), id));
        all.filter(|(reference, _)| of(reference)).collect()
    }

    /// What a full name means: under the name given by [`Catalogue::tag`] if there is one.
    pub fn meaning(&self, fullname: &str) -> Option<&ImageId> {
        let known = self.references_of(fullname);
        let ours = known.iter().find(|(reference, _)| reference.starts_with(OURS));
        ours.or(known.first()).map(|(_, id)| *id)
    }
}

impl Catalogue {
    /// What is known of an image, whatever its names.
    ///
    /// # Errors
    /// podman did not work; no such image.
    pub async fn facts(&self, id: &ImageId) -> Result<ImageFacts, CatalogueError> {
        let image = self.inspected(id).await?;
        let facts: Facts = image.into();
        Ok(ImageFacts {
            id: id.clone(),
            models: facts.models,
            labels: facts.labels,
            size: facts.size,
            created: facts.created,
            layers: facts.layers,
        })
    }

    /// The directories of an image's layers, from top to bottom. Their content is only to be read.
    ///
    /// # Errors
    /// podman did not work; no such image; the store does not keep layers as directories.
    pub async fn layers(&self, id: &ImageId) -> Result<Vec<PathBuf>, CatalogueError> {
        roots::layers(&self.inspected(id).await?)
            .map_err(|error| CatalogueError::Layers(error.to_string()))
    }

    async fn inspected(&self, id: &ImageId) -> Result<Inspected, CatalogueError> {
        let args = ["image", "inspect", id.as_str()];
        let images: Vec<Inspected> = self.podman().json_lenient(&args, READ_DEADLINE).await?;
        images.into_iter().next().ok_or_else(|| CatalogueError::Gone(id.short().to_owned()))
    }

    /// Everything the store holds, under any name or none.
    ///
    /// # Errors
    /// podman did not work.
    pub async fn content(&self) -> Result<Content, CatalogueError> {
        let listed: Option<Vec<Listed>> = self.podman().images().await?;
        let mut content = Content::default();
        for image in listed.unwrap_or_default() {
            let Ok(id) = image.id.parse::<ImageId>() else { continue };
            for name in image.names.unwrap_or_default() {
                content.references.insert(name, id.clone());
            }
            if !content.images.contains(&id) {
                content.images.push(id);
            }
        }
        Ok(content)
    }

    /// Gives an image a reference of ours, or of users.
    ///
    /// # Errors
    /// podman did not work; no such image.
    pub async fn add_reference(&self, id: &ImageId, reference: &str) -> Result<(), CatalogueError> {
        self.podman().run(&["tag", id.as_str(), reference], CHANGE_DEADLINE).await?;
        Ok(())
    }

    /// Holds an image as an earlier version of a name.
    ///
    /// # Errors
    /// podman did not work; no such image.
    pub async fn hold_version(&self, id: &ImageId) -> Result<(), CatalogueError> {
        self.add_reference(id, &format!("{VERSION_PREFIX}{id}")).await
    }

    /// Takes a reference away; the image itself goes with the last one. When a container still uses it, the reference
    /// goes all the same, and a tag of ours ([`LEAVING_PREFIX`]) says that the image is to go later. Nothing happens when
    /// the reference means another image by now.
    ///
    /// # Errors
    /// podman did not work.
    pub async fn drop_reference(
        &self,
        reference: &str,
        id: &ImageId,
    ) -> Result<(), CatalogueError> {
        match self.podman().run(&["rmi", reference], CHANGE_DEADLINE).await {
            Err(PodmanError::Command(CommandError::Failed { .. }))
                if self.content().await?.references.get(reference) == Some(id) =>
            {
                self.add_reference(id, &format!("{LEAVING_PREFIX}{id}")).await?;
                self.podman().run(&["untag", reference, reference], CHANGE_DEADLINE).await?;
                Ok(())
            }
            Err(PodmanError::Command(CommandError::Failed { .. })) | Ok(_) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes images that had to wait for a container, where it is gone.
    ///
    /// # Errors
    /// podman did not work.
    pub async fn drop_leaving(&self, content: &Content) -> Result<(), CatalogueError> {
        for reference in content.references.keys().filter(|name| name.starts_with(LEAVING_PREFIX)) {
            match self.podman().run(&["rmi", reference], CHANGE_DEADLINE).await {
                // Still used.
                Ok(_) | Err(PodmanError::Command(CommandError::Failed { .. })) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    id: String,
    names: Option<Vec<String>>,
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn one_name_under_several_registries() {
        let id: ImageId = "ab".repeat(32).parse().unwrap();
        let names = [
            "docker.io/u/x:latest",
            "localhost/u/x:latest",
            "localhost/walt/op:1",
            "docker.io/u/y:1",
        ];
        let references = names.map(|name| (name.to_owned(), id.clone())).into_iter().collect();
        let content = Content { references, images: vec![id] };
        let known: Vec<&str> =
            content.references_of("u/x:latest").iter().map(|(reference, _)| *reference).collect();
        assert_eq!(known, ["docker.io/u/x:latest", "localhost/u/x:latest"]);
        assert!(content.meaning("u/y:1").is_some());
        assert!(content.meaning("walt/op:1").is_none() && content.meaning("u/z:latest").is_none());
    }
}
