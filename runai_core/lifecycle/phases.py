"""What can happen to a workload, and what must then be done."""

from enum import StrEnum


class Signal(StrEnum):
    """Something that happened to a workload."""

    PODS_CREATED = "PodsCreated"  # the pod group and its pods exist
    ALL_SCHEDULED = "AllScheduled"  # every pod that is needed has a node
    ALL_READY = "AllReady"  # every pod that is needed runs and is ready
    PODS_LOST = "PodsLost"  # some pods of a running gang are missing or unhealthy
    SUCCEEDED = "Succeeded"
    RUN_SUCCEEDED = "RunSucceeded"  # one run of several (completions) ended well
    RETRY = "Retry"  # a failure, but the backoff limit is not reached
    FAILED = "Failed"  # by error beyond the backoff limit, or by a user-defined rule
    EVICTED = "Evicted"  # the scheduler took its place away; it waits again
    EVICTED_FOR_GOOD = "EvictedForGood"  # the same, and it may not wait again (terminateAfterPreemption)
    STOP_ASKED = "StopAsked"
    RESUME_ASKED = "ResumeAsked"
    DELETE_ASKED = "DeleteAsked"
    PODS_GONE = "PodsGone"  # no pod is left
    UPDATE_ASKED = "UpdateAsked"
    UPDATED = "Updated"
    CONTACT_LOST = "ContactLost"  # the state of the pods is not known
    CONTACT_FOUND = "ContactFound"


class Effect(StrEnum):
    """What the service must carry out after a transition, in this order."""

    DELETE_PODS = "DeletePods"
    COUNT_FAILURE = "CountFailure"
    COUNT_EVICTION = "CountEviction"
    NEW_ATTEMPT = "NewAttempt"  # the next pods are of a new attempt
    CREATE_PODS = "CreatePods"
    RELEASE_QUOTA = "ReleaseQuota"  # it holds nothing any more
    RECORD_END = "RecordEnd"  # completed_at is set
    FORGET = "Forget"  # remove the object, keep it for the record
    NOTIFY = "Notify"
