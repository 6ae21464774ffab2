//! Access control entries.

use kafka_protocol::messages::create_acls_request::AclCreation;
use kafka_protocol::messages::delete_acls_request::DeleteAclsFilter;
use kafka_protocol::messages::delete_acls_response::{DeleteAclsFilterResult, DeleteAclsMatchingAcl};
use kafka_protocol::messages::describe_acls_response::DescribeAclsResource;
use kafka_protocol::messages::{CreateAclsRequest, DeleteAclsRequest, DescribeAclsRequest};
use tokio::time::Instant;

use super::types::{Acl, AclFilter};
use crate::kafka::wire::client::KafkaClient;
use crate::kafka::wire::code::Ask;
use crate::kafka::wire::error::KafkaError;
use crate::kafka::wire::pool::Use;
use crate::kafka::wire::route::To;
use crate::kafka::wire::types::text;
use crate::kafka::wire::types::{AclOperation, AclPattern, AclResource};

/// "Any" in every enumeration of the ACL requests.
const ANY: i8 = 1;
const DENY: i8 = 2;
const ALLOW: i8 = 3;

impl KafkaClient {
    /// Entries that match a filter.
    pub async fn describe_acls(&self, filter: &AclFilter) -> Result<Vec<Acl>, KafkaError> {
        let deadline = self.until();
        self.router.retry(deadline, || self.describe_once(filter, deadline)).await
    }

    /// Adds entries; one result per entry, in the order given. Adding one that exists changes nothing.
    pub async fn create_acls(&self, acls: &[Acl]) -> Result<Vec<(Acl, Result<(), KafkaError>)>, KafkaError> {
        let deadline = self.until();
        self.router.retry(deadline, || self.create_once(acls, deadline)).await
    }

    /// Removes the entries that match; per filter, in the order given, what was removed.
    pub async fn delete_acls(
        &self,
        filters: &[AclFilter],
    ) -> Result<Vec<Result<Vec<Acl>, KafkaError>>, KafkaError> {
        let deadline = self.until();
        self.router.retry(deadline, || self.delete_once(filters, deadline)).await
    }

    async fn describe_once(&self, filter: &AclFilter, deadline: Instant) -> Result<Vec<Acl>, KafkaError> {
        let build = |_| Ok(describe_request(filter));
        let answer = self.router.send(To::Any, Use::Control, deadline, &build).await?.body;
        let ask = Ask::cluster("read ACLs", AclOperation::Describe);
        ask.check(self.properties(), answer.error_code, answer.error_message.as_deref())?;
        Ok(answer.resources.iter().flat_map(entries).collect())
    }

    async fn create_once(
        &self,
        acls: &[Acl],
        deadline: Instant,
    ) -> Result<Vec<(Acl, Result<(), KafkaError>)>, KafkaError> {
        let build = |_| Ok(CreateAclsRequest::default().with_creations(acls.iter().map(creation).collect()));
        let answer = self.router.send(To::Controller, Use::Control, deadline, &build).await?.body;
        let ask = Ask::cluster("add ACLs", AclOperation::Alter);
        let result =
            |(acl, r): (&Acl, &kafka_protocol::messages::create_acls_response::AclCreationResult)| {
                (acl.clone(), ask.check(self.properties(), r.error_code, r.error_message.as_deref()))
            };
        Ok(acls.iter().zip(&answer.results).map(result).collect())
    }

    async fn delete_once(
        &self,
        filters: &[AclFilter],
        deadline: Instant,
    ) -> Result<Vec<Result<Vec<Acl>, KafkaError>>, KafkaError> {
        let build = |_| Ok(DeleteAclsRequest::default().with_filters(filters.iter().map(deletion).collect()));
        let answer = self.router.send(To::Controller, Use::Control, deadline, &build).await?.body;
        Ok(answer.filter_results.iter().map(|r| self.deleted(r)).collect())
    }

    fn deleted(&self, result: &DeleteAclsFilterResult) -> Result<Vec<Acl>, KafkaError> {
        let ask = Ask::cluster("remove ACLs", AclOperation::Alter);
        ask.check(self.properties(), result.error_code, result.error_message.as_deref())?;
        let acl = |m: &DeleteAclsMatchingAcl| {
            ask.check(self.properties(), m.error_code, m.error_message.as_deref())?;
            Ok(Acl {
                resource_type: AclResource::from_wire(m.resource_type),
                resource_name: m.resource_name.to_string(),
                pattern: AclPattern::from_wire(m.pattern_type),
                principal: m.principal.to_string(),
                host: m.host.to_string(),
                operation: AclOperation::from_wire(m.operation),
                allow: m.permission_type == ALLOW,
            })
        };
        result.matching_acls.iter().map(acl).collect()
    }
}

fn permission(allow: bool) -> i8 {
    if allow { ALLOW } else { DENY }
}

fn entries(resource: &DescribeAclsResource) -> impl Iterator<Item = Acl> + '_ {
    resource.acls.iter().map(|a| Acl {
        resource_type: AclResource::from_wire(resource.resource_type),
        resource_name: resource.resource_name.to_string(),
        pattern: AclPattern::from_wire(resource.pattern_type),
        principal: a.principal.to_string(),
        host: a.host.to_string(),
        operation: AclOperation::from_wire(a.operation),
        allow: a.permission_type == ALLOW,
    })
}

fn creation(acl: &Acl) -> AclCreation {
    AclCreation::default()
        .with_resource_type(acl.resource_type.to_wire())
        .with_resource_name(text(&acl.resource_name))
        .with_resource_pattern_type(acl.pattern.to_wire())
        .with_principal(text(&acl.principal))
        .with_host(text(&acl.host))
        .with_operation(acl.operation.to_wire())
        .with_permission_type(permission(acl.allow))
}

fn describe_request(f: &AclFilter) -> DescribeAclsRequest {
    DescribeAclsRequest::default()
        .with_resource_type_filter(f.resource_type.map_or(ANY, AclResource::to_wire))
        .with_resource_name_filter(f.resource_name.as_deref().map(text))
        .with_pattern_type_filter(f.pattern.map_or(ANY, AclPattern::to_wire))
        .with_principal_filter(f.principal.as_deref().map(text))
        .with_host_filter(f.host.as_deref().map(text))
        .with_operation(f.operation.map_or(ANY, AclOperation::to_wire))
        .with_permission_type(f.allow.map_or(ANY, permission))
}

fn deletion(f: &AclFilter) -> DeleteAclsFilter {
    DeleteAclsFilter::default()
        .with_resource_type_filter(f.resource_type.map_or(ANY, AclResource::to_wire))
        .with_resource_name_filter(f.resource_name.as_deref().map(text))
        .with_pattern_type_filter(f.pattern.map_or(ANY, AclPattern::to_wire))
        .with_principal_filter(f.principal.as_deref().map(text))
        .with_host_filter(f.host.as_deref().map(text))
        .with_operation(f.operation.map_or(ANY, AclOperation::to_wire))
        .with_permission_type(f.allow.map_or(ANY, permission))
}
