import Glibc

/// The right to run: who waits for it sleeps until somebody passes it.
@safe final class Baton: @unchecked Sendable {
  // Sendable: a semaphore is made for many threads.
  private let semaphore: UnsafeMutablePointer<sem_t>

  init() {
    // SAFETY: a fresh allocation, freed in `deinit`.
    unsafe semaphore = .allocate(capacity: 1)
    // SAFETY: the semaphore is private to the process and free.
    let failed = unsafe sem_init(semaphore, 0, 0)
    precondition(failed == 0, "the system has semaphores")
  }

  deinit {
    // SAFETY: made in `init`, and nobody waits for a baton that goes.
    unsafe sem_destroy(semaphore)
    unsafe semaphore.deallocate()
  }

  func pass() {
    // SAFETY: the semaphore lives as long as the baton.
    unsafe _ = sem_post(semaphore)
  }

  func wait() {
    // SAFETY: the semaphore lives as long as the baton; a signal ends a wait early.
    while unsafe sem_wait(semaphore) != 0 {}
  }
}

/// A thread that carries out bodies, one after another, each when it gets the baton.
@safe final class SchedulerWorker: @unchecked Sendable {
  // Sendable: the job changes hands with the baton only.
  let baton = Baton()
  private var thread = pthread_t()
  private var job: Job?

  /// A body, and what follows its end.
  struct Job {
    var body: () -> Void
    /// Who gets the baton after the body has returned.
    var ended: () -> Baton
  }

  init() {
    // SAFETY: the reference passed is taken back by the thread.
    let opaque = unsafe Unmanaged.passRetained(self).toOpaque()
    let failed = unsafe pthread_create(
      &thread, nil,
      { context in
        guard let context = unsafe context else { return nil }
        // SAFETY: the context is the reference that was passed.
        unsafe Unmanaged<SchedulerWorker>.fromOpaque(context).takeRetainedValue().work()
        return nil
      }, opaque)
    precondition(failed == 0, "the system has a thread for each actor")
  }

  /// Gives the thread its next body; it begins with the baton.
  func take(_ job: Job) { self.job = job }

  private func work() {
    while true {
      baton.wait()
      guard let next = perform() else { return }
      next.pass()
    }
  }

  /// Carries the body out; nothing of the job is held any more when the baton passes.
  private func perform() -> Baton? {
    guard let current = job else { return nil }
    job = nil
    current.body()
    return current.ended()
  }

  /// Ends a thread that has no body; waits for it.
  func dismiss() {
    job = nil
    baton.pass()
    pthread_join(thread, nil)
  }
}
